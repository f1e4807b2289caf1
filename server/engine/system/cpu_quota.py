"""How many processors a container may keep busy all the time."""

import os
from math import ceil
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def num_allowed_cpus(cgroup_root: Path = CGROUP_ROOT) -> int:
    """Processors that this process may use, limited by the CPU quota of its container.

    Reads cpu.max of cgroup v2 or cpu.cfs_quota_us of v1 (Linux kernel, admin-guide/cgroup-v2 and
    scheduler/sched-bwc).
    """
    num_cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup_root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup_root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup_root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return num_cpus
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):
        return num_cpus
    return min(num_cpus, ceil(int(quota) / int(period)))
