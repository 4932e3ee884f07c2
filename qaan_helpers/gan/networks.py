"""Generator and discriminator: two convolutional networks (DCGAN) that mirror each other layer by layer.

The encoder, which some objectives add, has the discriminator's convolutions.
"""

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
        self.convolutions = _convolutions()  #     (N, 2352)
        self.hidden = nn.Sequential(nn.Linear(WIDTHS[1] * 7 * 7, latent_dim), nn.Tanh())  # (N, latent_dim)
        self.output = nn.Linear(latent_dim, 1)  #  (N, 1)
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


class Encoder(nn.Module):
    """Encode images as bits: the discriminator's convolutions, and one linear unit per bit.

    Batch normalization centers each unit, which keeps its bit from being constant.

    Args:
        latent_dim: Number n of bits per image.

    Raises:
        ValueError: If latent_dim is not an integer in 1–10,000.
    """

    def __init__(self, latent_dim: int = 8) -> None:
        super().__init__()
        self.latent_dim = check_integer("latent_dim", latent_dim, maximum=MAX_BITS)
        self.convolutions = _convolutions()  #               (N, 2352)
        self.hidden = nn.Sequential(  #                      (N, latent_dim)
            nn.Linear(WIDTHS[1] * 7 * 7, latent_dim, bias=False), nn.BatchNorm1d(latent_dim, affine=False)
        )
        self.apply(_initialize)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of the bits.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].

        Returns:
            Logits of shape (N, latent_dim), whose sigmoid is the probability that the bit is 1.

        Raises:
            ValueError: If the images have another shape.
        """
        return 2 * self.hidden(self.convolutions(2 * check_images(images) - 1))

    def sample(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Sample bits with a straight-through gradient, which treats the sampling as the identity.

        Source: Bengio et al., arXiv:1308.3432.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].
            generator: Generator of the random numbers, on the CPU; PyTorch's own if None.

        Returns:
            Bits of shape (N, latent_dim) as numbers 0 and 1, whose gradient is that of the bits' probabilities.

        Raises:
            ValueError: If the images have another shape.
        """
        p = self(images).sigmoid()
        uniform = torch.rand(p.shape, generator=generator).to(p.device)
        return (uniform < p).float() + (p - p.detach())


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


def _convolutions() -> nn.Sequential:
    first, second = WIDTHS
    return nn.Sequential(  #                    (N, 1, 28, 28)
        nn.Conv2d(1, first, **KERNEL),  #       (N, 24, 14, 14)
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(first, second, **KERNEL),  #  (N, 48, 7, 7)
        nn.BatchNorm2d(second),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),  #                        (N, 2352)
    )


def _initialize(module: nn.Module) -> None:
    """DCGAN's initialization: weights from N(0, 0.02²), batch normalization's scales from N(1, 0.02²)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
