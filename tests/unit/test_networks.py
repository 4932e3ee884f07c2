"""The two networks: shapes, ranges, DCGAN's rules, and that every weight learns."""

import pytest
import torch
from torch import nn

import qaan_helpers as qh
from qaan_helpers.gan import networks


def real_digits(n=16):
    return qh.load_mnist(split="test", source="sample").images[:n]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def layers(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("latent_dim", (1, 8, 20))
def test_shapes(latent_dim):
    generator, discriminator = qh.Generator(latent_dim), qh.Discriminator(latent_dim)
    images = generator(torch.randn(5, latent_dim))
    assert images.shape == (5, 1, 28, 28)
    assert discriminator.features(images).shape == (5, latent_dim)
    assert discriminator(images).shape == (5, 1)
    assert generator.latent_dim == discriminator.latent_dim == latent_dim


def test_images_lie_in_0_1_and_features_in_minus_1_1_and_both_use_the_range():
    """Weights blown up fifty times: tanh and sigmoid must hold, and nothing narrower."""
    generator, discriminator = qh.Generator(4), qh.Discriminator(4)
    with torch.no_grad():
        for network in (generator, discriminator):
            for layer in layers(network, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                layer.weight *= 50
    images = generator(torch.randn(64, 4))
    assert 0 <= images.min() < 0.01 and 0.99 < images.max() <= 1
    features = discriminator.features(images)
    assert -1 <= features.min() < -0.9 and 0.9 < features.max() <= 1


def test_logits_are_unbounded_and_read_from_the_features_alone():
    discriminator = qh.Discriminator(4).eval()
    images = real_digits()
    verdict = discriminator.output
    with torch.no_grad():
        verdict.weight *= 10_000
    by_hand = discriminator.features(images) @ verdict.weight.T + verdict.bias
    torch.testing.assert_close(discriminator(images), by_hand)
    assert by_hand.abs().max() > 1
    assert verdict.in_features == 4


def test_the_discriminator_sees_brightness_as_minus_1_to_1():
    seen = []
    discriminator = qh.Discriminator(4)
    layers(discriminator, nn.Conv2d)[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    discriminator(real_digits())
    assert seen[0].min() == -1 and seen[0].max() == 1


def test_features_depend_on_the_images():
    """The public implementation fitted its prior to draws of the weights, which no image ever reaches."""
    features = qh.Discriminator(8).eval().features(real_digits())
    assert (features.std(0) > 0).all()


def test_the_networks_mirror_each_other():
    down = [layer.weight.shape for layer in layers(qh.Discriminator(8), nn.Conv2d | nn.Linear)]
    up = [layer.weight.shape for layer in layers(qh.Generator(8), nn.ConvTranspose2d | nn.Linear)]
    first, second = networks.WIDTHS
    assert [tuple(shape) for shape in down[:2]] == [(first, 1, 5, 5), (second, first, 5, 5)]
    assert up[1:] == [down[1], down[0]]  # a transposed convolution's weight has its input's channels first
    assert tuple(up[0]) == tuple(down[2])[::-1]


def test_rules_of_dcgan():
    generator, discriminator = qh.Generator(8), qh.Discriminator(8)
    for network in (generator, discriminator):
        assert not layers(network, nn.MaxPool2d | nn.AvgPool2d | nn.Upsample)
        assert all(layer.stride == (2, 2) for layer in layers(network, nn.Conv2d | nn.ConvTranspose2d))
    assert [layer.negative_slope for layer in layers(discriminator, nn.LeakyReLU)] == [0.2, 0.2]
    assert discriminator.hidden[-1] is layers(discriminator, nn.Tanh)[0]  # the prior's (−1, 1), without a flat end
    normalised = [layer.num_features for layer in layers(generator, nn.BatchNorm2d)]
    assert normalised == list(networks.WIDTHS[::-1])  # all but the output
    assert [layer.num_features for layer in layers(discriminator, nn.BatchNorm2d)] == [
        networks.WIDTHS[1]
    ]  # not the input
    assert not layers(discriminator, nn.BatchNorm1d)  # it would normalise real and generated batches apart


def test_weights_start_from_a_narrow_normal():
    for network in (qh.Generator(8), qh.Discriminator(8)):
        for layer in layers(network, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if layer.weight.numel() > 500:
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
                assert abs(layer.weight.mean().item()) < 0.003
        for layer in layers(network, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert 0.01 < layer.weight.std().item() < 0.03


def test_a_gradient_reaches_every_weight():
    generator, discriminator = qh.Generator(4), qh.Discriminator(4)
    discriminator(generator(torch.randn(8, 4))).sum().backward()
    for network in (generator, discriminator):
        for name, weight in network.named_parameters():
            assert weight.grad.abs().sum() > 0, name


def test_a_few_steps_teach_the_discriminator_real_digits_from_noise():
    discriminator = qh.Discriminator(8)
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3)
    images = torch.cat([real_digits(), torch.rand(16, 1, 28, 28)])
    real = torch.arange(32)[:, None] < 16
    for _ in range(25):
        loss = nn.functional.binary_cross_entropy_with_logits(discriminator(images), real.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((discriminator(images) > 0) == real).all()


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (4, 3, 28, 28), (4, 1, 32, 32), (4, 784)])
def test_refuses_images_of_the_wrong_shape(shape):
    discriminator = qh.Discriminator(4)
    for judge in (discriminator, discriminator.features):
        with pytest.raises(ValueError, match=r"must have shape \(N, 1, 28, 28\)") as refused:
            judge(torch.zeros(shape))
        assert str(shape) in str(refused.value)


@pytest.mark.parametrize("shape", [(4,), (5, 3), (5, 4, 1)])
def test_refuses_latents_of_the_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"must have shape \(N, 4\); got "):
        qh.Generator(4)(torch.zeros(shape))


@pytest.mark.parametrize("network", (qh.Generator, qh.Discriminator))
@pytest.mark.parametrize("latent_dim", (0, -3, 2.5, True, "8"))
def test_refuses_a_latent_dim_that_is_no_size(network, latent_dim):
    with pytest.raises(ValueError, match=f"latent_dim must be an integer in 1–10,000; got {latent_dim!r}"):
        network(latent_dim)
