"""Keys and installations that are safe to be part of a name."""

from __future__ import annotations

import pytest
from django.conf import settings

from provisioning.names import checked_installation, checked_key
from provisioning.stores.errors import PermanentStoreError
from provisioning.stores.memory import MemoryStore
from provisioning.stores.queues import QueueStore


@pytest.mark.parametrize("key", ["", "-a", "a-", "a*", "a.b", "A", "a_b", "a b", "ä", "a" * 50])
def test_a_key_that_could_mean_more_than_one_agent_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a name"):
        checked_key(key)
    with pytest.raises(PermanentStoreError):
        QueueStore(key)
    with pytest.raises(PermanentStoreError):
        MemoryStore(key)


@pytest.mark.parametrize("key", ["a", "a-b", "a" * 49, "0-9"])
def test_a_key_is_returned_as_it_is(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize("installation", ["", "a_b", "a-b", "A", "a" * 11])
def test_an_installation_whose_prefix_could_be_anothers_is_refused(installation: str) -> None:
    with pytest.raises(ValueError, match="INSTALLATION_ID"):
        checked_installation(installation)


def test_the_longest_names_fit_in_an_identifier_of_postgresql() -> None:
    assert len(MemoryStore("a" * 49).role.replace(settings.INSTALLATION_ID, "i" * 10)) <= 63
