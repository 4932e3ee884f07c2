"""Three ways down the cost of a circuit: COBYLA without gradients, SPSA with two evaluations a step, Adam with exact ones."""

from collections.abc import Callable

import numpy as np


def cobyla(cost: Callable, angles: np.ndarray, max_evaluations: int, trust_radius: float = 0.5) -> None:
    """Minimise `cost(angles (P,)) -> float` by linear models on a simplex of P + 1 points.

    trust_radius: the first step, in radians (SciPy's rhobeg). Raises ValueError for a budget that cannot move.
    Source: Powell, "A direct search optimization method …", 1994; in SciPy the PRIMA implementation.
    """
    from scipy.optimize import minimize

    check_cobyla_budget(len(angles), max_evaluations)
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


def adam(
    cost_and_gradient: Callable, angles: np.ndarray, max_evaluations: int, learning_rate: float = 0.1
) -> None:
    """Minimise by Adam on `cost_and_gradient(angles (P,)) -> (float, (P,))`, one evaluation a step.

    Source: Kingma & Ba, arXiv:1412.6980.
    """
    import torch

    point = torch.tensor(angles, requires_grad=True)
    optimiser = torch.optim.Adam([point], lr=learning_rate)
    for _ in range(max_evaluations):
        point.grad = torch.from_numpy(cost_and_gradient(point.detach().numpy().copy())[1])
        optimiser.step()


def spsa(
    cost: Callable,
    angles: np.ndarray,
    max_evaluations: int,
    rng: np.random.Generator,
    first_step: float = 0.1,
    perturbation: float = 0.1,
) -> None:
    """Minimise a noisy `cost(angles (P,)) -> float` by simultaneous perturbation, two evaluations a step.

    first_step: how far the first step moves an angle, about, in radians; perturbation: how far apart the two
    evaluations of a step lie, in radians. Both shrink with Spall's exponents 0.602 and 0.101.
    Source: Spall, "Implementation of the simultaneous perturbation algorithm …", 1998.
    """
    angles = angles.copy()
    steps = max_evaluations // 2
    stability = 0.1 * steps
    scale = None
    for step in range(steps):
        direction = rng.choice((-1.0, 1.0), size=len(angles))
        reach = perturbation / (step + 1) ** 0.101
        slope = (cost(angles + reach * direction) - cost(angles - reach * direction)) / (2 * reach)
        if scale is None:  # calibrate on the first slope, so that its step has the size asked for
            scale = first_step * (1 + stability) ** 0.602 / max(abs(slope), 1e-6)
        angles = angles - scale / (step + 1 + stability) ** 0.602 * slope * direction
    cost(angles)
