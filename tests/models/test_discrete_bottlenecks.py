"""FSQ and VQ: parity with vector_quantize_pytorch, codes, gradients, dead codes."""

import math
import warnings
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from textok.models.bottleneck import FSQConfig, VectorBottleneck, VQConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the reference and what it imports
    from vector_quantize_pytorch import FSQ, VectorQuantize

LEVELS = st.lists(st.integers(3, 12), min_size=1, max_size=5)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


# --- fsq ------------------------------------------------------------------------------------------------


class PaperFSQ(FSQ):
    """The reference with the margin of the paper, (1 - eps); it has (1 + eps) by default."""

    def bound(self, z: Tensor, eps: float = 1e-3, hard_clamp: bool = False) -> Tensor:
        return super().bound(z, eps=-eps, hard_clamp=hard_clamp)


@pytest.mark.parametrize("levels", [(8, 8, 8, 5, 5, 5), (3, 4), (7, 6, 5, 4), (16,)])
def test_fsq_parity(levels: tuple[int, ...]) -> None:
    states = normal(4, 50, len(levels), scale=2.0)
    bottled = FSQConfig(levels=levels).build().eval()(states)
    latents, codes = PaperFSQ(levels=list(levels))(states)
    assert torch.equal(bottled.codes, codes.long())
    assert_close(bottled.latents, latents)
    default = FSQ(levels=list(levels))(states)[1]  # the other margin moves few boundaries, and by little
    assert float((bottled.codes == default).float().mean()) > 0.98


@settings(max_examples=40)
@given(levels=LEVELS, seed=st.integers(0, 1000))
def test_fsq_codes_and_latents_round_trip(levels: Sequence[int], seed: int) -> None:
    bottleneck = FSQConfig(levels=tuple(levels)).build()
    bottled = bottleneck(normal(2, 9, len(levels), seed=seed, scale=3.0))
    assert torch.equal(bottleneck.latents_of(bottled.codes), bottled.latents)
    drawn = torch.randint(bottleneck.num_codes, (2, 9), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(bottleneck(states_of(bottleneck.latents_of(drawn), levels)).codes, drawn)


def states_of(latents: Tensor, levels: Sequence[int]) -> Tensor:
    """States that land in the middle of the asked cells: the bound of the paper, solved for z."""
    width = torch.tensor(levels)
    half = (width - 1) * (1 - 1e-3) / 2
    offset = (width % 2 == 0) * 0.5
    inner = ((latents * (width // 2) + offset) / half).clamp(-0.9999, 0.9999)
    return inner.atanh() - (offset / half).atanh()


@pytest.mark.parametrize("levels", [(4, 3, 5), (6, 7), (999,), (1000,)])
def test_every_fsq_code_is_reached_and_no_other(levels: tuple[int, ...]) -> None:
    bottleneck = FSQConfig(levels=levels).build()
    axis = torch.linspace(-12, 12, 97 if len(levels) > 1 else 200_000)
    states = torch.cartesian_prod(*[axis] * len(levels)).reshape(1, -1, len(levels))
    bottled = bottleneck(states)
    assert torch.equal(bottled.codes.unique(), torch.arange(math.prod(levels)))
    assert float(bottled.latents.detach().abs().max()) == 1.0


def test_fsq_keeps_zero_and_order() -> None:
    bottleneck = FSQConfig(levels=(8, 5)).build()
    assert torch.equal(bottleneck(torch.zeros(1, 1, 2)).latents, torch.zeros(1, 1, 2))
    rising = bottleneck(torch.linspace(-4, 4, 101)[None, :, None].expand(1, 101, 2)).latents
    assert bool((rising[:, 1:] >= rising[:, :-1]).all())


def test_fsq_gradient_passes_straight_through() -> None:
    bottleneck, states = FSQConfig(levels=(8, 5, 6)).build(), normal(2, 7, 3).requires_grad_()
    upstream = normal(2, 7, 3, seed=1)
    found = torch.autograd.grad(bottleneck(states).latents, states, upstream)[0]
    smooth = bottleneck.bound(states) / torch.tensor([4, 2, 3])
    assert_close(found, torch.autograd.grad(smooth, states, upstream)[0])
    assert bool((found != 0).all())


def test_fsq_statistics_of_constructed_codes() -> None:
    bottleneck = FSQConfig(levels=(3, 4)).build().train()
    all_codes = states_of(bottleneck.latents_of(torch.arange(12)[None]), (3, 4))
    even = bottleneck(all_codes).statistics
    assert_close(even, {"perplexity": torch.tensor(12.0), "batch_usage": torch.tensor(1.0)})
    one = bottleneck(all_codes[:, :1].expand(1, 5, 2)).statistics
    assert_close(one, {"perplexity": torch.tensor(1.0), "batch_usage": torch.tensor(1 / 12)})
    present = torch.arange(12)[None] < 3
    three = bottleneck(all_codes, mask=present).statistics
    assert_close(three, {"perplexity": torch.tensor(3.0), "batch_usage": torch.tensor(0.25)})


# --- vq -------------------------------------------------------------------------------------------------


def vector(*, training: bool = False, **changes: object) -> VectorBottleneck:
    torch.manual_seed(100)  # not the seed of the states
    return VQConfig(**{"codebook_size": 8, "latent_dim": 4, **changes}).build().train(training)


def test_vq_parity() -> None:
    bottleneck, states = vector(codebook_size=64), normal(3, 40, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = VectorQuantize(dim=4, codebook_size=64, use_cosine_sim=True).eval()
    reference._codebook.embed.data.copy_(bottleneck.codebook.detach()[None])
    quantized, codes, _ = reference(states)
    bottled = bottleneck(states)
    assert torch.equal(bottled.codes, codes)
    assert_close(bottled.latents, quantized)


def test_vq_chooses_the_nearest_and_weighs_both_pulls() -> None:
    bottleneck, states = vector(commitment=0.4, weight=0.5), normal(3, 5, 4).requires_grad_()
    bottleneck.codebook.data.mul_(torch.linspace(0.1, 5, 8)[:, None])  # lengths do not matter
    bottled = bottleneck(states)
    z, book = F.normalize(states, dim=-1), F.normalize(bottleneck.codebook, dim=-1)
    distances = (z[..., None, :] - book).square().sum(-1)
    assert torch.equal(bottled.codes, distances.argmin(-1))
    assert_close(bottled.loss, 0.5 * 1.4 * distances.amin(-1).mean())
    assert torch.equal(bottleneck.latents_of(bottled.codes), bottled.latents)
    assert_close(bottled.latents.norm(dim=-1), torch.ones(3, 5))
    bottled.loss.backward()
    used = torch.zeros(8, dtype=torch.bool)
    used[bottled.codes.unique()] = True
    assert torch.equal((bottleneck.codebook.grad != 0).any(-1), used)
    pull, commit = torch.autograd.grad(distances.amin(-1).mean(), [bottleneck.codebook, states])
    assert_close(bottleneck.codebook.grad, 0.5 * pull)
    assert_close(states.grad, 0.5 * 0.4 * commit)


def test_vq_gradient_passes_straight_through_the_sphere() -> None:
    bottleneck, states, upstream = vector(), normal(2, 7, 4).requires_grad_(), normal(2, 7, 4, seed=1)
    found = torch.autograd.grad(bottleneck(states).latents, states, upstream)[0]
    expected = torch.autograd.grad(F.normalize(states, dim=-1), states, upstream)[0]
    assert_close(found, expected)


def test_vq_revives_the_dead_and_only_the_dead() -> None:
    bottleneck = vector(training=True, usage_decay=0.0)  # usage = that of this batch alone
    before, states = bottleneck.codebook.detach().clone(), normal(1, 6, 4)
    states[:, 1::2] = states[:, ::2]  # at most three codes
    bottled = bottleneck(states, generator=torch.Generator().manual_seed(0))
    alive = torch.zeros(8, dtype=torch.bool)
    alive[bottled.codes.unique()] = True
    after = bottleneck.codebook.detach()
    assert torch.equal(after[alive], before[alive])
    assert int(bottled.statistics["revived"]) == int((~alive).sum()) >= 5
    outputs = F.normalize(states, dim=-1).flatten(0, 1)
    assert float(torch.cdist(after[~alive], outputs).amin(1).max()) < 1e-3
    assert torch.equal(bottleneck.usage[~alive], torch.ones(int((~alive).sum())))
    assert_close(bottleneck.usage[alive].sum(), torch.tensor(8.0))


def test_vq_revives_onto_present_tokens_alone() -> None:
    bottleneck, states = vector(training=True, usage_decay=0.0), normal(2, 3, 4)
    present = torch.tensor([[True, False, False], [True, True, False]])
    revived = bottleneck(states, mask=present, generator=torch.Generator().manual_seed(0))
    assert int(revived.statistics["revived"]) >= 5
    near = torch.cdist(bottleneck.codebook.detach(), F.normalize(states, dim=-1)[~present]).amin()
    assert float(near) > 1e-3


def test_vq_revival_is_repeatable_with_a_generator() -> None:
    books = []
    for seed in (0, 0, 1):
        bottleneck = vector(training=True, usage_decay=0.0)
        bottleneck(normal(4, 9, 4), generator=torch.Generator().manual_seed(seed))
        books.append(bottleneck.codebook.detach())
    assert torch.equal(books[0], books[1])
    assert not torch.equal(books[0], books[2])


def test_vq_codes_die_after_as_long_as_the_decay_says() -> None:
    """Usage of an unused code is 0.5^n: under 0.03 at the sixth step."""
    bottleneck = vector(training=True, usage_decay=0.5)
    same = bottleneck.codebook.detach()[None, :1].clone()
    found = [int(bottleneck(same).statistics["revived"]) for _ in range(6)]
    assert found == [0, 0, 0, 0, 0, 7]


def test_vq_backward_survives_the_revival() -> None:
    bottleneck, states = vector(training=True, usage_decay=0.0), normal(2, 5, 4).requires_grad_()
    twin = vector(training=False)
    bottled, expected = bottleneck(states), twin(states.detach().clone())
    assert int(bottled.statistics["revived"]) > 0
    (bottled.loss + bottled.latents.sum()).backward()
    expected.loss.backward()
    assert_close(bottleneck.codebook.grad, twin.codebook.grad)


def test_vq_statistics_of_constructed_codes() -> None:
    bottleneck = vector(training=True)
    book = bottleneck.codebook.detach().clone()[None]
    even = bottleneck(book).statistics
    assert_close(even["perplexity"], torch.tensor(8.0))
    assert_close(even["batch_usage"], torch.tensor(1.0))
    assert int(even["revived"]) == 0
    two = bottleneck(book[:, [0, 0, 0, 1]]).statistics  # shares 3/4 and 1/4
    assert_close(two["perplexity"], torch.tensor(4 / 3**0.75))
    assert_close(two["batch_usage"], torch.tensor(0.25))
