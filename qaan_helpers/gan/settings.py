"""The objectives of a training and their settings."""

from typing import Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from ..checks import check_choice
from ..validation import validated

Objective = Literal["associative", "tied", "reconstruction"]


class _CommonSettings(BaseModel):
    """The settings that all objectives have."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    learning_rate: float = Field(5e-4, gt=0, lt=1, description="a number between 0 and 1")
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="a number in [0, 0.5)")
    warm_up: int = Field(1, ge=0, description="an integer ≥ 0")
    refresh: int = Field(1, ge=1, description="an integer ≥ 1")
    fit_samples: int = Field(2000, ge=1, description="an integer ≥ 1")
    latent_noise: float = Field(0.3, ge=0, le=100, description="a number in [0, 100]")  # latents are ±1; more overflows
    ema_decay: float = Field(0.98, ge=0, lt=1, description="a number in [0, 1)")


class Settings(_CommonSettings):
    """How a QAAN trains with the objective "associative". Notebook 05 shows how the defaults were chosen.

    A unit of the hidden layer sums 2,352 inputs. If all weights move at the full learning rate, it soon saturates at
    −1 or +1, so this layer learns at `hidden_lr_factor` times the rate. Rates in inverse proportion to the number of
    inputs (Yang et al., arXiv:2203.03466, Table 3) would be a quarter of the previous layer's. At half, the images are
    as good and the bits stay more correlated.

    Args:
        learning_rate: Learning rate of both Adam optimizers (β₁ = 0.5).
        label_smoothing: Real images have the target 1 − label_smoothing.
        warm_up: Number of epochs with a uniform prior at the start.
        refresh: The prior is fitted every `refresh` epochs.
        fit_samples: Maximum number of images whose bits the prior is fitted to.
        latent_noise: Standard deviation of the Gaussian noise added to the ±1 latents.
        ema_decay: Decay of the exponential moving average (EMA) of the generator's weights, which generates the
            images (Yazıcı et al., arXiv:1806.04498). 0 uses the last weights.
        hidden_lr_factor: Learning rate of the discriminator's hidden layer, as a fraction of `learning_rate`.
        binarization: How activations become bits, as in `binarize`.
        fit_to: "real" images, or "both": every second image is a generated one.
    """

    hidden_lr_factor: float = Field(0.5, gt=0, le=1, description="a number in (0, 1]")
    binarization: Literal["median", "sign", "bernoulli"] = Field(
        "median", description="one of 'median', 'sign', 'bernoulli'"
    )
    fit_to: Literal["real", "both"] = Field("real", description="one of 'real', 'both'")


class EncoderSettings(_CommonSettings):
    """How a QAAN trains with the objectives "tied" and "reconstruction". Notebook 06 shows how they were chosen.

    Args:
        learning_rate: Learning rate of the generator's Adam optimizer (β₁ = 0.5).
        label_smoothing: Real images have the target 1 − label_smoothing.
        warm_up: Number of epochs before the first fit of the prior.
        refresh: The prior is fitted every `refresh` epochs.
        fit_samples: Maximum number of images whose codes the prior is fitted to.
        latent_noise: Standard deviation of the Gaussian noise added to the ±1 latents.
        ema_decay: Decay of the exponential moving average (EMA) of the generator's weights.
        encoder_lr_factor: Learning rate of the encoder's Adam optimizer (β₁ = 0.9), as a multiple of `learning_rate`.
        discriminator_lr_factor: Learning rate of the discriminator's Adam optimizer (β₁ = 0.5), as a multiple of
            `learning_rate`.
        reconstruction_weight: Weight of the reconstruction's mean squared error per pixel in the generator's loss.
        reconstruction_ramp: Number of steps in which this weight rises linearly from 0. With the full weight from the
            start, the reconstructions are blurred, the discriminator recognizes them at once, and the adversarial
            game starts late or never.
    """

    learning_rate: float = Field(1e-3, gt=0, lt=1, description="a number between 0 and 1")
    latent_noise: float = Field(0.2, ge=0, le=100, description="a number in [0, 100]")
    encoder_lr_factor: float = Field(1.0, gt=0, le=100, description="a number in (0, 100]")
    discriminator_lr_factor: float = Field(0.4, gt=0, le=100, description="a number in (0, 100]")
    reconstruction_weight: float = Field(50.0, gt=0, le=1e6, description="a number in (0, 1,000,000]")
    reconstruction_ramp: int = Field(300, ge=1, description="an integer ≥ 1")


AnySettings = Settings | EncoderSettings


class SettingsOptions(TypedDict, total=False):
    """The fields of `Settings` and `EncoderSettings` as keyword arguments, for type checkers and editors."""

    learning_rate: float
    label_smoothing: float
    warm_up: int
    refresh: int
    fit_samples: int
    latent_noise: float
    ema_decay: float
    hidden_lr_factor: float
    binarization: Literal["median", "sign", "bernoulli"]
    fit_to: Literal["real", "both"]
    encoder_lr_factor: float
    discriminator_lr_factor: float
    reconstruction_weight: float
    reconstruction_ramp: int


OBJECTIVES: dict[Objective, type[AnySettings]] = {
    "associative": Settings,
    "tied": EncoderSettings,
    "reconstruction": EncoderSettings,
}


def check_settings(objective: str, settings: Any, where: str = "") -> AnySettings:
    """Validate the settings of an objective.

    Args:
        objective: "associative", "tied" or "reconstruction".
        settings: The settings by name.
        where: Path of the settings, which precedes their names in messages.

    Returns:
        The settings.

    Raises:
        ValueError: If the objective is unknown, or a setting is not one of the objective's or has a value that is not
            allowed.
    """
    check_choice("objective", objective, OBJECTIVES)
    kind: type[AnySettings] = OBJECTIVES[objective]  # type: ignore[index]
    return validated(kind, settings, where)
