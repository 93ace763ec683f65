"""What the first mirror of a bucket takes, beside `mc mirror` and `rclone copy` with their own check of the copy."""

from __future__ import annotations

from pathlib import Path

from backup_orchestration_tests import s3_servers
from bench.measure import Report, Result, Taken, in_turns, middle
from bench.mirror_site import Mirrors

_GOAL = 1.0
_SIZES = {"small": (3000, 4 << 10), "large": (20, 64 << 20)}
_SERVERS = {"MinIO": s3_servers.minio, "lab's store": s3_servers.rclone}


def measure(room: Path, rounds: int) -> Report:
    taken: dict[str, list[Taken]] = {}
    failed: dict[str, str] = {}
    results, notes = [], []
    for name, start in _SERVERS.items():
        for size, (count, length) in _SIZES.items():
            with start(room / f"{name}-{size}") as server:
                mirrors = Mirrors(server, size, room)
                mirrors.fill(count, length)
                out: dict[str, str] = {}
                found = in_turns({"homelab": mirrors.homelab, "mc": mirrors.mc, "rclone": mirrors.rclone}, rounds, out)
                notes.append(f"{name}, {size}: rclone with {mirrors.workers}; ours: {mirrors.stages()}")
            taken |= {f"{name}, {size}, {rival}": runs for rival, runs in found.items()}
            failed |= {f"{name}, {size}, {rival}": words for rival, words in out.items()}
            ours, *theirs = (middle(runs) for runs in found.values())
            if theirs:
                results.append(Result(f"{name}, {size}: ratio to the faster rival", ours / min(theirs), "x", _GOAL))
    described = ", ".join(f"{size}: {count:,} of {length >> 10:,} KiB" for size, (count, length) in _SIZES.items())
    return Report(
        "first mirror of a bucket into another one of the same server, over mc and rclone, each with its check",
        f"{described};\nhomelab: `backup run`, the whole command; mc: `mirror`, then `diff`; rclone: `copy`, then"
        " `check`,\nwith the transfers and checkers that are fastest here;\n"
        "TLS on loopback; the processor time is the clients', without the server's, which shares the cores;\n"
        + "\n".join(notes),
        taken,
        results,
        failed,
    )
