"""Put on a process's path, this sets its clock five minutes ahead of everybody else's."""

from __future__ import annotations

import time

_AHEAD_S = 300

_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _AHEAD_S
time.time_ns = lambda: _time_ns() + _AHEAD_S * 10**9
