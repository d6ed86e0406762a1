import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from fractal_live.music.notes import Bar, Note
from fractal_live.music.request import LATENT_DIMS, BarReply, BarRequest, ModelFault, ModelReady, ModelSetup, Sampling


def test_a_bare_request_leaves_everything_to_the_model() -> None:
    request = BarRequest(3)
    assert (request.past, request.chroma, request.latent_gain, request.sampling) == ((), None, 0.0, Sampling())
    assert request.latent == (0.0,) * LATENT_DIMS
    assert np.isnan(request.plan).all()


def test_two_requests_never_share_a_plan() -> None:
    assert not np.shares_memory(BarRequest(0).plan, BarRequest(0).plan)


def test_guidance_and_filters_are_off_unless_asked_for() -> None:
    assert (Sampling().cfg_scale, Sampling().top_p, Sampling().top_k) == (1.0, 1.0, 0)


def test_a_request_cannot_be_changed_once_it_is_made() -> None:
    with pytest.raises(FrozenInstanceError):
        BarRequest(0).seed = 1  # type: ignore[misc]


def test_requests_and_replies_cross_a_pipe_unchanged() -> None:
    bar = Bar(5, (Note(0, 60, 120, 80),), plan=(1.0,) * 6, seed=4)
    plan = np.float32(np.arange(192).reshape(32, 6))
    request = BarRequest(5, (bar,), plan, latent=(0.5,) * 16, seed=9, version=2)
    came = pickle.loads(pickle.dumps(request))
    np.testing.assert_array_equal(came.plan, plan)
    assert (came.index, came.past, came.latent, came.seed, came.version) == (5, (bar,), (0.5,) * 16, 9, 2)
    reply = pickle.loads(pickle.dumps(BarReply(bar, plan, 2, 1000)))
    np.testing.assert_array_equal(reply.plan, plan)
    assert (reply.bar, reply.version, reply.took_ns) == (bar, 2, 1000)
    for message in (ModelSetup("live", "cpu", 2), ModelReady("id", "cpu", 7, 8), ModelFault("no", 3)):
        assert pickle.loads(pickle.dumps(message)) == message
