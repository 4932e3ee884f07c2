"""Three ways down the cost of a circuit: COBYLA on a simplex, SPSA on random slopes, Adam on exact gradients."""

from collections.abc import Callable

import numpy as np


def cobyla(cost: Callable, angles: np.ndarray, max_evaluations: int, trust_radius: float = 0.5) -> None:
    """Minimize `cost(angles (P,)) -> float` by linear models on a simplex of P + 1 points.

    trust_radius: the first step, in radians (SciPy's rhobeg). Raises ValueError for a budget that cannot move.
    Source: Powell, "A direct search optimization method …", 1994; in SciPy the PRIMA implementation.
    """
    from scipy.optimize import minimize

    check_cobyla_budget(len(angles), max_evaluations)
    if not 0 < trust_radius < np.inf:
        raise ValueError(f"trust_radius is {trust_radius!r}; it must be radians above 0, such as 0.5")
    minimize(cost, angles, method="COBYLA", options={"maxiter": max_evaluations, "rhobeg": trust_radius})


def check_cobyla_budget(n_angles: int, max_evaluations: int, name: str = "max_evaluations") -> None:
    """Raise ValueError where `max_evaluations`, the argument called `name`, is too few to move `n_angles` angles."""
    least = n_angles + 2
    if max_evaluations < least:
        raise ValueError(
            f"{name} is {max_evaluations}, but COBYLA needs {least} for {n_angles} angles: one for the "
            f"start, one for each angle to lay its first simplex, one to move. Give {least} at the very least, ten "
            "times as many to learn, or take optimizer='spsa', which moves every two evaluations"
        )


def adam(cost_and_gradient: Callable, angles: np.ndarray, max_evaluations: int, learning_rate: float = 0.1) -> None:
    """Minimize by Adam on `cost_and_gradient(angles (P,)) -> (float, (P,))`, one evaluation a step.

    Source: Kingma & Ba, arXiv:1412.6980.
    """
    import torch

    point = torch.tensor(angles, requires_grad=True)
    optimizer = torch.optim.Adam([point], lr=learning_rate)
    for _ in range(max_evaluations):
        point.grad = torch.from_numpy(cost_and_gradient(point.detach().numpy().copy())[1])
        optimizer.step()


def spsa(
    cost: Callable,
    angles: np.ndarray,
    max_evaluations: int,
    rng: np.random.Generator,
    step: float = 0.05,
    perturbation: float = 0.1,
) -> None:
    """Minimize a noisy `cost(angles (P,)) -> float` by simultaneous perturbation, two evaluations a step.

    step: how far an angle goes in the first steps, about, in radians; perturbation: half the distance of a step's two
    evaluations in each angle, in radians. Both shrink with Spall's exponents, 0.602 and 0.101. Slopes are divided by
    their running mean, without which no one step size suits every circuit (our addition).
    Source: Spall, "Implementation of the simultaneous perturbation algorithm …", 1998.
    """
    steps = max_evaluations // 2
    stability = 0.1 * steps
    usual_slope = None
    for k in range(steps):
        direction = rng.choice((-1.0, 1.0), size=len(angles))
        reach = perturbation / (k + 1) ** 0.101
        slope = (cost(angles + reach * direction) - cost(angles - reach * direction)) / (2 * reach)
        usual_slope = abs(slope) if usual_slope is None else 0.9 * usual_slope + 0.1 * abs(slope)
        length = step * ((1 + stability) / (k + 1 + stability)) ** 0.602
        angles = angles - length * slope / max(usual_slope, 1e-9) * direction
    cost(angles)
