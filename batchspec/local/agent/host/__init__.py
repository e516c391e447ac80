"""The program that starts the processes of tasks, and that leaves nothing of them behind.

It runs as a process of its own (:data:`START`), with the standard library alone, and imports
nothing of batchspec: so it is small and a fork of it is cheap. Orders come on standard input and
reports leave on standard output, both as lines of JSON::

    {"run": "7.1", "argv": [..], "env": {..}, "cwd": "..", "out": "..", "err": ".."}
    {"kill": "7.1"}

A run with ``"stay": true`` whose program has ended well goes on until it is killed, so that what
the program left behind can be used; with ``"append": true`` its output goes behind what is there.
Its processes may have so many bytes of ``"memory"``, and be so many (``"processes"``).

    {"run": "7.1", "exit": 0}       it ended by itself
    {"run": "7.1", "stays": true}   it ended well, and goes on until it is killed
    {"run": "7.1", "signal": 9}     a signal ended it; with "over", for that limit
    {"run": "7.1", "errno": 2}      it could not be started; with "place", for want of that file
    {"run": "7.1", "lost": true}    whoever watched it was killed; what it left is dead too

When it ended, or a signal ended it, the report tells what all processes of the run have ``"used"``:
seconds of processors for themselves and in the kernel, bytes read from and written to disks.

Each run has a supervisor, a fork of this process, that is the *subreaper* of all that the run
starts: whatever a task does (``setsid``, double forks, an empty environment), its processes stay
below the supervisor, which kills them when the task has ended or is to end. The end is reported
when nothing is left; then the supervisor is clean and takes the next run, so that a run costs no
fork of Python. When the input closes (the service is gone, however it went) everything is killed.

Other systems than Linux have no subreapers: there the task's process group is killed, and a
process that left the group survives.
"""

START = "from host.main import main; del sys.path[0]; main()"
"""What Python is to run, with ``sys`` and the folder that holds this one first in its path."""
