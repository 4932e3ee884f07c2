"""Generator and discriminator: two convolutional networks that mirror each other layer by layer."""

import torch
from torch import nn

from ..checks import MAX_BITS, check_integer

KERNEL = {"kernel_size": 5, "stride": 2, "padding": 2, "bias": False}
WIDTHS = (24, 48)  # channels after the first and the second convolution


class Discriminator(nn.Module):
    """Judge images (N, 1, 28, 28) real or not, through a hidden layer of `latent_dim` units that the prior learns.

    Raises ValueError for a latent_dim below 1 or above 10,000.
    Source: Radford et al., arXiv:1511.06434; the narrow last hidden layer: Rudolph et al., arXiv:2012.03924, Fig. 1.
    """

    def __init__(self, latent_dim: int = 8):
        super().__init__()
        self.latent_dim = check_integer("latent_dim", latent_dim, most=MAX_BITS)
        first, second = WIDTHS
        self.convolutions = nn.Sequential(  #                    (N, 1, 28, 28)
            nn.Conv2d(1, first, **KERNEL),  #                    (N, 24, 14, 14)
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(first, second, **KERNEL),  #               (N, 48, 7, 7)
            nn.BatchNorm2d(second),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Flatten(),  #                                     (N, 2352)
        )
        self.hidden = nn.Sequential(nn.Linear(second * 7 * 7, latent_dim), nn.Tanh())  # (N, latent_dim)
        self.output = nn.Linear(latent_dim, 1)  #               (N, 1)
        self.apply(_initialise)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The hidden layer (N, latent_dim), in (−1, 1), that images (N, 1, 28, 28) in [0, 1] call forth."""
        return self.hidden(self.convolutions(2 * check_images(images) - 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 1) of images (N, 1, 28, 28): above 0 means that they look real."""
        return self.output(self.features(images))


class Generator(nn.Module):
    """Draw images (N, 1, 28, 28) from latents (N, latent_dim): the discriminator's layers in reverse.

    Raises ValueError for a latent_dim below 1 or above 10,000.
    Source: Radford et al., arXiv:1511.06434, with a sigmoid in place of tanh, so that brightness lies in [0, 1].
    """

    def __init__(self, latent_dim: int = 8):
        super().__init__()
        self.latent_dim = check_integer("latent_dim", latent_dim, most=MAX_BITS)
        first, second = WIDTHS
        self.layers = nn.Sequential(  #                                         (N, latent_dim)
            nn.Linear(latent_dim, second * 7 * 7, bias=False),
            nn.Unflatten(1, (second, 7, 7)),  #                                 (N, 48, 7, 7)
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(second, first, output_padding=1, **KERNEL),  #   (N, 24, 14, 14)
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(first, 1, output_padding=1, **KERNEL),  #        (N, 1, 28, 28)
            nn.Sigmoid(),
        )
        self.apply(_initialise)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 28, 28) in [0, 1] from latents (N, latent_dim), usually bits as −1 and +1."""
        _check_tensor("latents", latents)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ValueError(f"latents have shape {tuple(latents.shape)}; (N, {self.latent_dim}) is needed")
        return self.layers(latents)


def check_images(images: torch.Tensor, least: int = 0) -> torch.Tensor:
    """Return `images`, or raise ValueError unless they are a tensor (N, 1, 28, 28) with N ≥ `least`."""
    _check_tensor("images", images)
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28) or len(images) < least:
        enough = f" with N ≥ {least}" if least else ""
        raise ValueError(f"images have shape {tuple(images.shape)}; (N, 1, 28, 28){enough} is needed")
    return images


def _check_tensor(name, value):
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name} is of type {type(value).__name__}; a torch tensor is needed: torch.as_tensor({name})")


def _initialise(module: nn.Module) -> None:
    """DCGAN's start: weights from N(0, 0.02²), batch norm's scales from N(1, 0.02²)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
