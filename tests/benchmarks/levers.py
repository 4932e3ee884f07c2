"""Benchmarks of single levers: the same work with one of them and without, whether we kept it or not."""

from functools import partial

import numpy as np
import torch
from networks import DIGITS, plain_gan
from PIL import Image
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import DiagonalGate
from qiskit_aer import AerSimulator
from quantum import LAYERS, SHOTS, Evaluation, gates
from side_by_side import side_by_side
from torchvision.transforms.functional import to_tensor

import qaan_helpers as qh


def compared(lever: str, kept: bool, without, with_it, rounds: int) -> dict:
    """A row: milliseconds without and with the lever, and how many times as fast it makes the work."""
    told = side_by_side({"without": without, "with": with_it}, rounds, lever)
    row = {"lever": lever, "kept": kept, "without_ms": told["without"]["ms"], "with_ms": told["with"]["ms"]}
    return row | {"ratio": told["with"]["ratio"]}


def diagonals(n_qubits: int, angles: np.ndarray) -> QuantumCircuit:
    """Our ansatz at `angles` with all RXX of a layer as one diagonal between Hadamards: they commute."""
    circuit, phases, every = QuantumCircuit(n_qubits), np.zeros(2**n_qubits), range(n_qubits)
    signs = 1.0 - 2 * (np.arange(2**n_qubits)[:, None] >> np.arange(n_qubits) & 1)

    def close():
        if phases.any():
            circuit.h(every)
            circuit.append(DiagonalGate(np.exp(-0.5j * phases).tolist()), every)
            circuit.h(every)
            phases[:] = 0

    for name, qubits, angle in gates(n_qubits, angles):
        if name == "rxx":
            phases[:] += angle * signs[:, qubits[0]] * signs[:, qubits[1]]
            continue
        close()
        getattr(circuit, name)(*([] if angle is None else [angle]), *qubits)
    close()
    return circuit


def of_the_circuit(n_qubits: int, rounds: int):
    """Levers of an evaluation of the cost."""
    point, counted = Evaluation(n_qubits, None), Evaluation(n_qubits, SHOTS)
    plain = qh.qcbm_ansatz(n_qubits, LAYERS)
    plain.save_probabilities()

    def run(simulator, circuit):
        return simulator.run(circuit, shots=1).result().data(0)["probabilities"]

    def anew():
        run(point.simulator, transpile(plain.assign_parameters(point.angles), point.simulator))

    def with_diagonals():
        circuit = diagonals(n_qubits, point.angles)
        circuit.save_probabilities()
        return run(point.simulator, circuit)

    assert np.allclose(with_diagonals(), point.runner.probabilities(point.angles[None])[0])
    one_thread = AerSimulator(method="statevector", max_parallel_threads=1)
    unfused = AerSimulator(method="statevector", fusion_enable=False)
    bound = point.bare_circuit.assign_parameters({name: value for name, (value,) in point.binds.items()})
    as_it_is = partial(run, point.simulator, bound)
    listed = dict(zip(point.states.tolist(), point.found.tolist(), strict=True))

    def drawn():
        p = point.bare().data(0)["probabilities"]
        return counted.rng.multinomial(SHOTS, p / p.sum())

    def row_by_row():
        return -sum(np.log(max(1e-8, listed[index])) for index in qh.to_index(point.bits).tolist()) / len(point.bits)

    assert np.isclose(row_by_row(), point.cost())
    yield compared("transpiled once", True, anew, point.bare, rounds)
    yield compared("translated for Aer once", True, point.bare, point.readout, rounds)
    yield compared("exact probabilities, no shots", True, counted.ours, point.ours, rounds)
    yield compared("each state once, one vector product", True, row_by_row, point.cost, rounds)
    yield compared("shots drawn from probabilities", True, counted.bare, drawn, rounds)
    yield compared("each layer's RXX as one diagonal", False, point.bare, with_diagonals, rounds)
    yield compared("Aer on one thread", False, as_it_is, partial(run, one_thread, bound), rounds)
    yield compared("Aer without fusing gates", False, as_it_is, partial(run, unfused, bound), rounds)


def of_the_networks(batch_size: int, rounds: int):
    """Levers of a step of both networks."""
    images = qh.load_mnist(DIGITS, source="sample").images[:batch_size]
    latents = torch.randn(batch_size, 8)
    gan, thawed, copying, fused = (qh.QAAN(qh.UniformPrior(8), "cpu") for _ in range(4))
    thawed.discriminator.requires_grad_ = lambda _: None
    for layer in [*copying.generator.modules(), *copying.discriminator.modules()]:
        if hasattr(layer, "inplace"):
            layer.inplace = False
    for network, optimizer in ((fused.generator, "g_optimizer"), (fused.discriminator, "d_optimizer")):
        setattr(fused, optimizer, torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True))
    ours = partial(gan.step, images, latents)

    def drawn_twice():
        with torch.no_grad():
            gan.generator(latents)
        gan.step(images, latents)

    def on_one_thread():
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        ours()
        torch.set_num_threads(before)

    def without_denormals():
        torch.set_flush_denormal(True)
        ours()
        torch.set_flush_denormal(False)

    for lever, kept, without, with_it in (
        ("memory in the order channels_last", True, partial(plain_gan("cpu").step, images, latents), ours),
        ("activations in place", True, partial(copying.step, images, latents), ours),
        ("D's gradients off in G's step", True, partial(thawed.step, images, latents), ours),
        ("fakes of D's step used in G's again", True, drawn_twice, ours),
        ("fused Adam", False, ours, partial(fused.step, images, latents)),
        ("PyTorch on one thread", False, ours, on_one_thread),
        ("denormal numbers flushed to 0", False, ours, without_denormals),
    ):
        yield compared(f"{lever}, batch {batch_size}", kept, without, with_it, rounds)


def of_the_data(rounds: int, n_codes: int = 6400):
    """Levers of an epoch's codes and images, in batches of 64."""
    digits, prior = qh.load_mnist(DIGITS, source="sample"), qh.QCBMPrior(8)
    pixels = (digits.images[:64, 0] * 255).byte().numpy()
    order = torch.arange(64)

    def by_batch():
        return [prior.sample(64) for _ in range(n_codes // 64)]

    def from_files():
        return torch.stack([to_tensor(Image.fromarray(image)) for image in pixels])

    yield compared(f"{n_codes:,} codes drawn at once", True, by_batch, partial(prior.sample, n_codes), rounds)
    yield compared("images as one tensor", True, from_files, lambda: digits.images[order], rounds)


def levers(quick: bool = False):
    """The same work with one lever and without. ratio: how many times as fast the lever makes it."""
    for n_qubits in (4,) if quick else (8, 12, 16):
        for row in of_the_circuit(n_qubits, 3 if quick else 15):
            yield row | {"lever": f"{row['lever']}, {n_qubits} qubits"}
    for batch_size in (64,) if quick else (64, 512):
        yield from of_the_networks(batch_size, 3 if quick else 4000 // batch_size + 20)
    yield from of_the_data(3 if quick else 15, 640 if quick else 6400)


BENCHMARKS = {"levers": levers}
