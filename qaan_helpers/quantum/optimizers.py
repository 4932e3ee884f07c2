"""Optimizers for a circuit's angles: COBYLA, Adam and SPSA, each with its options as typed fields."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
from numpy.random import Generator

from ..checks import check_integer, check_positive

REFIT_TRUST_RADIUS = 0.1  # radians: a refit starts near its optimum
GRADIENT_RATE = 0.05  # learning rate of Adam after COBYLA
LOWEST = {"max_evaluations": 1, "gradient_steps": 0}  # the options that are integers, with their lowest values


class Objective(Protocol):
    """A cost function of P angles."""

    def cost(self, angles: np.ndarray) -> float:
        """Return the cost at `angles` (P,).

        Args:
            angles: The point to evaluate, shape (P,), in radians.
        """

    def cost_and_gradient(self, angles: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the cost at `angles` and its gradient (P,).

        Args:
            angles: The point to evaluate, shape (P,), in radians.
        """


class Optimizer(ABC):
    """Base class of the optimizers: `Cobyla`, `Adam` and `Spsa`.

    Every subclass is a frozen dataclass. Its fields are positive finite numbers, or numbers of evaluations. One of them
    is `max_evaluations`, an integer of at least 1.
    """

    name: ClassVar[str]
    max_evaluations: int

    def __post_init__(self) -> None:
        for option, value in vars(self).items():
            lowest = LOWEST.get(option)
            checked = check_positive(option, value) if lowest is None else check_integer(option, value, lowest)
            object.__setattr__(self, option, checked)  # a plain int or float, which JSON can hold

    @abstractmethod
    def minimize(self, objective: Objective, angles: np.ndarray, max_evaluations: int, rng: Generator) -> None:
        """Minimize the objective. The objective itself records what was evaluated.

        Args:
            objective: The cost function, with its gradient.
            angles: The starting point, shape (P,), in radians. It is not changed.
            max_evaluations: The number of evaluations of the cost allowed.
            rng: The generator for random decisions of the optimizer.
        """

    def for_refit(self, n_angles: int) -> "Optimizer":
        """Return the optimizer for a later fit, which starts from the angles of the previous one.

        Args:
            n_angles: The number P of angles to fit.

        Returns:
            The same optimizer with a tenth of the evaluations, unless its class decides otherwise.
        """
        return type(self)(**vars(self) | {"max_evaluations": max(1, self.max_evaluations // 10)})

    def n_gradients(self, n_angles: int, max_evaluations: int) -> int:
        """Return how many of the evaluations need the gradient.

        Args:
            n_angles: The number P of angles to fit.
            max_evaluations: The number of evaluations allowed.
        """
        return 0

    def check_budget(self, n_angles: int, max_evaluations: int | None = None, name: str = "max_evaluations") -> int:
        """Check that a number of evaluations is enough to move the angles.

        Args:
            n_angles: The number P of angles to fit.
            max_evaluations: The number of evaluations; the optimizer's own if None.
            name: The argument's name in the error message.

        Returns:
            The number of evaluations.

        Raises:
            ValueError: If it is not an integer of at least 1, or too small for this optimizer.
        """
        return check_integer(name, self.max_evaluations if max_evaluations is None else max_evaluations)

    def config(self) -> str | dict[str, object]:
        """Return a JSON-able description that `as_optimizer` turns back into this optimizer.

        Returns:
            The plain name if all options have their defaults, else a dict with the name and every option.
        """
        return self.name if self == type(self)() else {"name": self.name, **vars(self)}


@dataclass(frozen=True)
class Cobyla(Optimizer):
    """COBYLA: linear models of the cost on a simplex of P + 1 points, without gradients.

    On request, the last evaluations are steps of Adam from COBYLA's best point. They cost little on `Exact()`, whose
    gradients come from reverse mode. Elsewhere each of them runs two circuits per gate.

    Source: Powell, "A direct search optimization method that models the objective and constraint functions by linear
    interpolation", 1994. SciPy provides the PRIMA implementation.

    Args:
        trust_radius: The initial step in radians (SciPy's `rhobeg`).
        max_evaluations: The default number of evaluations of the cost, the steps of Adam included.
        gradient_steps: How many of the evaluations are steps of Adam, with a learning rate of 0.05. COBYLA keeps at
            least P + 2 evaluations.

    Raises:
        ValueError: If an option is not a positive finite number, or a number of evaluations not a whole number.
    """

    trust_radius: float = 0.5
    max_evaluations: int = 1500
    gradient_steps: int = 0
    name = "cobyla"

    def minimize(self, objective: Objective, angles: np.ndarray, max_evaluations: int, rng: Generator) -> None:
        """Minimize by linear models in a shrinking trust region.

        Args:
            objective: The cost function.
            angles: The starting point, shape (P,), in radians.
            max_evaluations: The number of evaluations allowed, at least P + 2.
            rng: Not used: COBYLA is deterministic.

        Raises:
            ValueError: If `max_evaluations` is less than P + 2.
        """
        from scipy.optimize import minimize
        from threadpoolctl import threadpool_limits

        budget = self.check_budget(len(angles), max_evaluations)
        steps = self.n_gradients(len(angles), budget)
        options = {"maxiter": budget - steps, "rhobeg": self.trust_radius}
        with threadpool_limits(1, user_api="blas"):  # its matrices are small: a second thread only waits
            best = minimize(objective.cost, angles, method="COBYLA", options=options).x
        if steps:
            Adam(GRADIENT_RATE).minimize(objective, best, steps, rng)

    def n_gradients(self, n_angles: int, max_evaluations: int) -> int:
        """Return the number of steps of Adam at the end.

        Args:
            n_angles: The number P of angles to fit.
            max_evaluations: The number of evaluations allowed.
        """
        return min(self.gradient_steps, max_evaluations - n_angles - 2)

    def check_budget(self, n_angles: int, max_evaluations: int | None = None, name: str = "max_evaluations") -> int:
        """Check that the budget covers the first simplex and one step, P + 2 evaluations.

        Args:
            n_angles: The number P of angles to fit.
            max_evaluations: The number of evaluations; the optimizer's own if None.
            name: The argument's name in the error message.

        Returns:
            The number of evaluations.

        Raises:
            ValueError: If the number is not an integer of at least P + 2.
        """
        budget = super().check_budget(n_angles, max_evaluations, name)
        minimum = n_angles + 2
        if budget < minimum:
            raise ValueError(
                f"{name} must be at least {minimum} for COBYLA with {n_angles} angles; got {budget}. COBYLA evaluates "
                f"the start and {n_angles} further points of its first simplex before it takes a step. Allow about "
                f"{10 * minimum} evaluations, or use optimizer='spsa', which takes a step every two evaluations"
            )
        return budget

    def for_refit(self, n_angles: int) -> "Cobyla":
        """Return COBYLA with a small trust radius and a budget for one simplex and some steps.

        Args:
            n_angles: The number P of angles to fit.

        Returns:
            COBYLA with 61 steps of its own, or with one and all steps of Adam if it has any.
        """
        steps = 1 + self.gradient_steps if self.gradient_steps else 61
        trust_radius = min(self.trust_radius, REFIT_TRUST_RADIUS)
        return replace(self, trust_radius=trust_radius, max_evaluations=n_angles + 1 + steps)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: gradient descent with momentum and a step size per angle, one evaluation per step.

    Source: Kingma and Ba, arXiv:1412.6980. PyTorch provides the implementation.

    Args:
        learning_rate: The step size in radians.
        max_evaluations: The default number of evaluations of the cost and its gradient.

    Raises:
        ValueError: If an option is not a positive finite number, or the budget not an integer of at least 1.
    """

    learning_rate: float = 0.1
    max_evaluations: int = 300
    name = "adam"

    def minimize(self, objective: Objective, angles: np.ndarray, max_evaluations: int, rng: Generator) -> None:
        """Minimize along the gradient.

        Args:
            objective: The cost function, with its gradient.
            angles: The starting point, shape (P,), in radians.
            max_evaluations: The number of evaluations allowed.
            rng: Not used: Adam is deterministic.
        """
        import torch

        point = torch.tensor(angles, requires_grad=True)
        optimizer = torch.optim.Adam([point], lr=self.learning_rate)
        for _ in range(max_evaluations):
            _, gradient = objective.cost_and_gradient(point.detach().numpy().copy())
            point.grad = torch.from_numpy(gradient)
            optimizer.step()

    def n_gradients(self, n_angles: int, max_evaluations: int) -> int:
        """Return the number of evaluations: each of them needs the gradient.

        Args:
            n_angles: The number P of angles to fit.
            max_evaluations: The number of evaluations allowed.
        """
        return max_evaluations


@dataclass(frozen=True)
class Spsa(Optimizer):
    """SPSA: simultaneous perturbation stochastic approximation, two evaluations of a noisy cost per step.

    The last evaluation is at the final iterate. Step and perturbation shrink with Spall's exponents 0.602 and 0.101.
    We also divide each gradient estimate by the running mean of its size, so that one step size suits every circuit.
    This normalization is our addition.

    Source: Spall, "Implementation of the simultaneous perturbation algorithm for stochastic optimization", IEEE
    Transactions on Aerospace and Electronic Systems 34(3), 1998.

    Args:
        step: The typical change of an angle in the first steps, in radians.
        perturbation: The distance of the two evaluations of a step from the iterate in each angle, in radians.
        max_evaluations: The default number of evaluations of the cost.

    Raises:
        ValueError: If an option is not a positive finite number, or the budget not an integer of at least 1.
    """

    step: float = 0.05
    perturbation: float = 0.1
    max_evaluations: int = 3000
    name = "spsa"

    def minimize(self, objective: Objective, angles: np.ndarray, max_evaluations: int, rng: Generator) -> None:
        """Minimize along random directions, then evaluate the final iterate.

        Args:
            objective: The cost function.
            angles: The starting point, shape (P,), in radians.
            max_evaluations: The number of evaluations allowed. An even number leaves one unused.
            rng: The generator of the directions.
        """
        steps = (max_evaluations - 1) // 2
        stability = 0.1 * steps
        mean_size = None
        for k in range(steps):
            direction = rng.choice((-1.0, 1.0), size=len(angles))
            reach = self.perturbation / (k + 1) ** 0.101
            shift = reach * direction
            slope = (objective.cost(angles + shift) - objective.cost(angles - shift)) / (2 * reach)
            mean_size = abs(slope) if mean_size is None else 0.9 * mean_size + 0.1 * abs(slope)
            length = self.step * ((1 + stability) / (k + 1 + stability)) ** 0.602
            angles = angles - length * slope / max(mean_size, 1e-9) * direction
        objective.cost(angles)


OPTIMIZERS: dict[str, type[Optimizer]] = {each.name: each for each in (Cobyla, Adam, Spsa)}


def as_optimizer(optimizer: str | Mapping[str, object] | Optimizer) -> Optimizer:
    """Return the optimizer that a name or a description stands for.

    Args:
        optimizer: "cobyla", "adam" or "spsa"; a dict such as {"name": "adam", "learning_rate": 0.05}, as
            `Optimizer.config` returns it; or an optimizer, which is returned unchanged.

    Returns:
        The optimizer, with default options where none are given.

    Raises:
        ValueError: If the name or an option is unknown, or an option's value is not allowed.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    options = dict(optimizer) if isinstance(optimizer, Mapping) else {"name": optimizer}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise ValueError(
            f"optimizer must be one of {', '.join(map(repr, OPTIMIZERS))}, or an object such as "
            f"Cobyla(trust_radius=0.3); got {optimizer!r}"
        )
    default = OPTIMIZERS[name]()
    if unknown := [option for option in options if option not in vars(default)]:
        raise ValueError(
            f"options of {name!r} must be among {', '.join(vars(default))}; got {', '.join(map(repr, unknown))}"
        )
    return type(default)(**options)
