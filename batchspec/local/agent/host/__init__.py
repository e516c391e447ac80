"""The host: the program that starts the processes of tasks and guarantees that none is left behind.

It is a separate process (:data:`START`) that uses only the standard library and imports nothing
of batchspec, so that it is small and cheap to fork. Requests are read from standard input, reports
are written to standard output, both as lines of JSON::

    {"run": "7.1", "argv": [..], "env": {..}, "cwd": "..", "out": "..", "err": ".."}
    {"kill": "7.1"}

With ``"stay": true``, a run whose program exited with 0 continues until it is killed, so that the
processes that the program left can be used. With ``"append": true``, its output is appended.
``"memory"`` (bytes) and ``"processes"`` limit its processes.

    {"run": "7.1", "exit": 0}       the program exited
    {"run": "7.1", "stays": true}   the program exited with 0, and the run continues
    {"run": "7.1", "signal": 9}     a signal ended it; "over" is the exceeded limit
    {"run": "7.1", "errno": 2}      it could not be started; "place" is the path that caused it
    {"run": "7.1", "lost": true}    its supervisor was killed; no process of it is left

For a run that exited or was ended by a signal, the report has what all its processes ``"used"``:
user and system processor seconds, bytes read from and written to disks.

Each run has a supervisor, a fork of the host, which is the *subreaper* of all processes of the run:
whatever a task does (``setsid``, double forks, an empty environment), its processes stay
descendants of the supervisor, which kills them when the task has ended or must end. The end is
reported when no process is left; then the supervisor takes the next run, so that a run costs no
fork of Python. When the input closes, because the service has ended in any way, all processes are
killed.

Only Linux has subreapers. On other systems the process group of the task is killed, and a process
that left the group survives.
"""

START = "from host.main import main; del sys.path[0]; main()"
"""The program for Python; ``sys`` is imported and the folder of this package is first in its
path.
"""
