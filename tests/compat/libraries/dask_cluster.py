"""distributed: a cluster whose scheduler and workers are asyncio's subprocesses."""

import program
from distributed import Client
from distributed.deploy.subprocess import SubprocessCluster


def square(number: int) -> int:
    return number * number


async def task() -> dict:
    async with SubprocessCluster(
        asynchronous=True, n_workers=2, threads_per_worker=1, worker_class="distributed.Worker"
    ) as cluster:
        async with Client(cluster, asynchronous=True) as client:
            await client.wait_for_workers(2)
            total = await client.submit(sum, client.map(square, range(10)))
            return {"total": total, "workers": len(cluster.workers)}


if __name__ == "__main__":
    program.run(task)
