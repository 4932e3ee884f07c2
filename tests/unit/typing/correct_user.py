"""A user's script without mistakes: a type checker must accept it."""

import torch

import qaan_helpers as qh

digits = qh.load_mnist(digits=(3, 7, 9), split="train", source="sample")
circuit = qh.qcbm_ansatz(n_qubits=4, layers=1, entanglement="linear")
model = qh.QCBM(circuit, execution=qh.Shots(1000), seed=1)
result = model.fit(qh.binarize(torch.randn(50, 4)), optimizer=qh.Cobyla(trust_radius=0.3), max_evaluations=200)
cost: float = result.best_cost
prior: qh.Prior = qh.QCBMPrior(4, layers=1, optimizer="adam")
gan = qh.QAAN(prior, device="cpu", seed=2, learning_rate=1e-3)
for report in qh.train(gan, digits, epochs=1):
    loss: float = report.d_loss
images: torch.Tensor = gan.sample(16)
gan.load_state_dict(gan.state_dict())
score: float = qh.inception_score(images)
memory = qh.QAAN(prior, objective="reconstruction", reconstruction_weight=10.0)
recalled: torch.Tensor = memory.with_prior(qh.UniformPrior(4)).recall(images)
fraction: float = qh.recall_accuracy(memory, digits)
