"""The generative adversarial network: networks, model, training, checkpoints and health checks."""
