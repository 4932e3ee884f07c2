"""Progress bars: tqdm's own, stored as they ended.

A notebook keeps the text that a widget had when it was shown first: on GitHub, which has no widgets, every bar would
stand at 0 %.
"""

from tqdm import auto

# Else the bar is text, which needs no help.
IN_NOTEBOOK = any(kind.__module__ == "tqdm.notebook" for kind in auto.tqdm.__mro__)


class tqdm(auto.tqdm):
    """`tqdm.auto.tqdm`, with all that it takes and raises; a notebook shows it again, in its place, at its end."""

    _place = None  # where it stands, until its end

    def __init__(self, *args, **kwargs):
        if IN_NOTEBOOK:
            kwargs["display"] = False
        super().__init__(*args, **kwargs)
        if hasattr(self, "container"):
            from IPython.display import display

            self._place, self.displayed = display(self.container, display_id=True), True

    def finish(self):
        """Close the bar as full where fewer rounds than its total were enough; tqdm would draw it red, as a failure."""
        self.total = self.n
        if self._place:
            self.container.children[1].max = self.n
        self.close()

    def close(self):
        """Let the bar stand as it is, or take it away where `leave` is False."""
        super().close()
        if self._place:
            from IPython.display import Pretty

            self._place.update(self.container if self.leave else Pretty(""))
        self._place = None
