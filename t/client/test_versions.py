"""The whole scene: agents and a user in processes of their own, each of them
either academy-py 1.0.0 or 0.5.0."""

import pytest
from process import SCENE


@pytest.mark.parametrize("agents", ["1.0.0", "0.5.0"])
@pytest.mark.parametrize("user", ["1.0.0", "0.5.0"])
def test_scene(exchange, processes, user, agents):
    url = exchange(workers=2).url
    seen = processes.user(url, processes.cast(url, agents), user)
    assert seen == SCENE


def test_players_of_two_versions(exchange, processes):
    url = exchange(workers=2).url
    cast = processes.cast(url, "1.0.0")
    cast["two"] = processes.agent(url, "Player", "0.5.0")
    assert processes.user(url, cast) == SCENE
