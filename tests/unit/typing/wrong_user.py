"""A user's script with three mistakes: a type checker must report each of them, on its line."""

import qaan_helpers as qh

circuit = qh.qcbm_ansatz(n_qubit=8)  # wrong keyword
model = qh.QCBM(circuit, seed="zero")  # wrong type
prior = qh.QCBMPriors(8)  # missing name
