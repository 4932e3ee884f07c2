"""Progress bars: tqdm's own, stored in a notebook as they ended.

A notebook stores a widget's text as it was when the widget was first shown. On GitHub, which shows no widgets, every
progress bar would therefore stay at 0%.
"""

from typing import Any

from tqdm import auto

IN_NOTEBOOK = any(kind.__module__ == "tqdm.notebook" for kind in auto.tqdm.__mro__)  # elsewhere the bar is text


class tqdm(auto.tqdm):
    """`tqdm.auto.tqdm`, which a notebook displays again, in the same place, when it closes.

    Args:
        *args: Arguments of `tqdm.auto.tqdm`.
        **kwargs: Keyword arguments of `tqdm.auto.tqdm`.
    """

    _place = None  # the display handle in a notebook, until the bar closes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if IN_NOTEBOOK:
            kwargs["display"] = False
        super().__init__(*args, **kwargs)
        if hasattr(self, "container"):
            from IPython.display import display

            self._place, self.displayed = display(self.container, display_id=True), True

    def finish(self) -> None:
        """Close the bar as full if fewer iterations than its total were enough; tqdm would color it as failed."""
        self.total = self.n
        if self._place:
            self.container.children[1].max = self.n
        self.close()

    def close(self) -> None:
        """Close the bar: it stays as it is, or disappears if `leave` is False."""
        super().close()
        if self._place:
            from IPython.display import Pretty

            self._place.update(self.container if self.leave else Pretty(""))
        self._place = None
