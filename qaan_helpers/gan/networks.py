"""Generator and discriminator: two convolutional networks (DCGAN) that mirror each other layer by layer."""

from typing import Any

import torch
from torch import nn

from ..checks import MAX_BITS, check_integer
from ..mnist import check_images, check_tensor

KERNEL: dict[str, Any] = {"kernel_size": 5, "stride": 2, "padding": 2, "bias": False}
WIDTHS = (24, 48)  # channels after the first and the second convolution


class Discriminator(nn.Module):
    """Tell real images from generated ones, through a hidden layer of `latent_dim` units that the prior learns.

    Source: Radford et al., arXiv:1511.06434; the narrow last hidden layer: Rudolph et al., arXiv:2012.03924, Fig. 1.

    Args:
        latent_dim: Width n of the hidden layer.

    Raises:
        ValueError: If latent_dim is not an integer in 1–10,000.
    """

    def __init__(self, latent_dim: int = 8) -> None:
        super().__init__()
        self.latent_dim = check_integer("latent_dim", latent_dim, maximum=MAX_BITS)
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
        self.apply(_initialize)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the activations of the hidden layer.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].

        Returns:
            Activations of shape (N, latent_dim) in (−1, 1).

        Raises:
            ValueError: If the images have another shape.
        """
        return self.hidden(self.convolutions(2 * check_images(images) - 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits that images are real.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].

        Returns:
            Logits of shape (N, 1); D(x) = sigmoid(logit).

        Raises:
            ValueError: If the images have another shape.
        """
        return self.output(self.features(images))


class Generator(nn.Module):
    """Generate images from latents: the discriminator's layers in reverse order.

    Source: Radford et al., arXiv:1511.06434, with a sigmoid instead of tanh, so that brightness is in [0, 1].

    Args:
        latent_dim: Number n of latents per image.

    Raises:
        ValueError: If latent_dim is not an integer in 1–10,000.
    """

    def __init__(self, latent_dim: int = 8) -> None:
        super().__init__()
        self.latent_dim = check_integer("latent_dim", latent_dim, maximum=MAX_BITS)
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
        self.apply(_initialize)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Generate images.

        Args:
            latents: Latents of shape (N, latent_dim), usually bits as −1 and +1 with some noise.

        Returns:
            Images of shape (N, 1, 28, 28) in [0, 1].

        Raises:
            ValueError: If the latents have another shape.
        """
        check_tensor("latents", latents)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise ValueError(f"latents must have shape (N, {self.latent_dim}); got {tuple(latents.shape)}")
        return self.layers(latents)


def _initialize(module: nn.Module) -> None:
    """DCGAN's initialization: weights from N(0, 0.02²), batch normalization's scales from N(1, 0.02²)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
