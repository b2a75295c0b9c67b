"""What a context says of a task: the product of a Gaussian for each of its transitions (Rakelly et al. 2019, section 4.1)."""

from torch import Tensor

from outpost.policies.image_context import VARIANCE_FLOOR

__all__ = ["VARIANCE_FLOOR", "kl_to_prior", "product_of_gaussians"]


def product_of_gaussians(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (..., Z) of the normalised product of C Gaussians (..., C, Z), in no order; N(0, I) of none."""
    if not mean.shape[-2]:
        return mean.new_zeros(*mean.shape[:-2], mean.shape[-1]), mean.new_ones(*mean.shape[:-2], mean.shape[-1])
    precision = 1 / variance
    joint = 1 / precision.sum(-2)
    return joint * (precision * mean).sum(-2), joint


def kl_to_prior(mean: Tensor, variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) nats: (..., Z) -> (...)."""
    return 0.5 * (variance + mean.square() - 1 - variance.log()).sum(-1)
