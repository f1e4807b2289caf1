"""How many processors a container may keep busy all the time."""

import os
from math import ceil
from pathlib import Path

from server.host.machine_share import MACHINE_SHARE

__all__ = ["cpu_quota", "num_allowed_cpus"]

CGROUP_ROOT = Path("/sys/fs/cgroup")


def num_allowed_cpus(cgroup_root: Path = CGROUP_ROOT) -> int:
    """Processors that this process may use, limited by its share of its container's CPU quota."""
    num_cpus = len(os.sched_getaffinity(0))
    quota = cpu_quota(cgroup_root)
    return num_cpus if quota is None else min(num_cpus, ceil(quota / MACHINE_SHARE.num_processes))


def cpu_quota(cgroup_root: Path = CGROUP_ROOT) -> float | None:
    """The number of processors that the container may keep busy; None without a limit.

    Reads cpu.max of cgroup v2 or cpu.cfs_quota_us of v1 (Linux kernel, admin-guide/cgroup-v2 and
    scheduler/sched-bwc).
    """
    try:
        quota, period = (cgroup_root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup_root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup_root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)
