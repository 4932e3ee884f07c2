"""The quantum circuit: ansatz, losses, optimizers, execution, devices, and the circuit Born machine (QCBM)."""
