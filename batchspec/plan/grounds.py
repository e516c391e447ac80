"""What a plan rests on: facts by name, each as a short digest, so that what moved can be told.

Two plans of the same grounds are the same plan. The number of tasks that are done is no ground of
its own: it shows in the steps, and a run that goes on moves it all the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batchspec.plan.digest import content_digest, digest
from batchspec.plan.observed import ContainerFacts, Observed
from batchspec.plan.plan import Step
from batchspec.spec.model import Spec

_ABSENT = "absent"


def grounds(spec: Spec, observed: Observed, steps: list[Step]) -> Mapping[str, str]:
    """The grounds of a plan: what they are called in the user's words, and their digests."""
    return dict(_grounds(spec, observed, steps))


def _grounds(spec: Spec, observed: Observed, steps: list[Step]) -> Iterator[tuple[str, str]]:
    account = observed.account
    yield "the account", digest((account.target, account.batch, account.storage))
    yield "the spec", spec.digest
    for key, container in spec.containers.items():
        facts = observed.containers[key]
        yield f"container {container.id}", _state_of(facts)
        if container.upload:
            yield f"the files for {container.id}", content_digest(facts.files)
    if observed.pool is not None:
        pool = observed.pool
        sizes = (pool.target_dedicated, pool.target_spot)
        yield (
            f"pool {spec.pool.id}",
            digest(pool.state, pool.metadata.get("batchspec:digest", ""), sizes),
        )
    else:
        yield f"pool {spec.pool.id}", _ABSENT
    yield (
        f"the jobs of {spec.job.id}",
        digest(tuple((job.id, job.state, job.created.isoformat()) for job in observed.jobs)),
    )
    yield "the steps", digest(tuple((s.id, s.verb, s.reason, s.items) for s in steps))


def _state_of(facts: ContainerFacts) -> str:
    if facts.metadata is None:
        return _ABSENT
    return digest(tuple(sorted(facts.metadata.items())))
