"""The names of the keys in Redis, in one table. No key is read or written here.

Each name follows the prefix: Celery's `global_keyprefix` and "longtask:".

===================  ==========  =======================================================  ==========================
key                  type        what it holds                                            removed
===================  ==========  =======================================================  ==========================
task:<id>            JSON        the record of a task                                     result_expires after its end
checkpoint:<id>      JSON        what a task keeps for its next attempt; at most 16 kB    when its task ends
attempts:<id>        list        the earlier attempts at a task, as JSON; the last 19     result_expires after its end
lines:<id>           list        the lines that a task has logged; the last 500           result_expires after its end
parts:<id>           sorted set  the parts of a family, the failed and the running first  with the family's record
arguments:<id>       JSON        what a restartable task was started with; at most 1 MB   with its task's record
waiting:<queue>      sorted set  tasks that were sent and not started, in their order     when started or ended
scheduled            sorted set  the same for tasks with an eta, by that time             when started or ended
sending              sorted set  tasks whose message another broker has not confirmed     when confirmed or ended
open                 sorted set  tasks that were sent and have not ended, by that time    when ended
ended                sorted set  tasks by the time of their end; the last 20,000          when newer ones have ended
number               integer     the last number given to a task, to order tasks          never
queues               hash        each queue's lists of messages, by priority              when the queue is empty
workers              sorted set  living workers by the time of their last heartbeat       when stopped or lost
worker-info          hash        what each worker reports about itself, as JSON           when stopped or lost
running:<worker>     set         the tasks that it runs, whose messages it holds          when stopped or lost
unheld:<worker>      set         the tasks that it runs with no message in this Redis     when stopped or lost
reserved:<worker>    set         the tasks that it has received and not started           when stopped or lost
held:<worker>        hash        the messages that it holds, by their delivery tags       acknowledged or handed back
unsettled            string      another broker may hold messages of lost workers         after some seconds
rejected             list        messages that no worker could handle; the last 100       a week after the last
bell:<queue>         list        wakes a worker that waits for messages; 100 at most      after a minute
heartbeat            time        the time of the last heartbeat of any worker             never
calm                 time        the time until which no worker is taken for lost         never
auditor              string      the worker that looks for lost messages                  after 5 seconds
claim:<hash>         JSON        the tasks that an idempotency key stands for             with the first of them
turn:<hash>          lock        held while a request with this key is answered           after 3 seconds
browser:<name>       list        the tasks that a browser or a user has started; 100      30 days after the last
guesses:<address>    integer     how many wrong tokens a client has sent                  a minute after the first
writable             string      written to check that Redis accepts writes               after a minute
===================  ==========  =======================================================  ==========================
"""

#: The types of keys, as `mend.lua` checks them: of single keys, of keys for each queue, of keys for each worker.
KINDS = {
    "scheduled": "zset",
    "sending": "zset",
    "open": "zset",
    "ended": "zset",
    "number": "integer",
    "queues": "hash",
    "workers": "zset",
    "worker-info": "hash",
    "rejected": "list",
    "heartbeat": "time",
    "calm": "time",
    "auditor": "string",
    "unsettled": "string",
    "writable": "string",
}
KINDS_BY_QUEUE = {"waiting": "zset", "bell": "list"}
KINDS_BY_WORKER = {"running": "set", "unheld": "set", "reserved": "set", "held": "hash"}


class Keys:
    """The keys with one prefix. `documents` is the prefix of Celery's own documents, one for each task."""

    def __init__(self, prefix: str = "", documents: str = "celery-task-meta-") -> None:
        self.prefix = f"{prefix}longtask:"
        self.documents = documents
        self.scheduled = self._name("scheduled")
        self.sending = self._name("sending")
        self.open = self._name("open")
        self.ended = self._name("ended")
        self.number = self._name("number")
        self.queues = self._name("queues")
        self.workers = self._name("workers")
        self.worker_info = self._name("worker-info")
        self.heartbeat = self._name("heartbeat")
        self.calm = self._name("calm")
        self.auditor = self._name("auditor")
        self.writable = self._name("writable")
        self.rejected = self._name("rejected")
        self.unsettled = self._name("unsettled")

    def _name(self, name: str) -> str:
        return self.prefix + name

    def document(self, task_id: str) -> str:
        """Celery's own document of a task, and the channel on which its changes are published."""
        return self.documents + task_id

    def record(self, task_id: str) -> str:
        return self._name(f"task:{task_id}")

    def arguments(self, task_id: str) -> str:
        return self._name(f"arguments:{task_id}")

    def checkpoint(self, task_id: str) -> str:
        return self._name(f"checkpoint:{task_id}")

    def attempts(self, task_id: str) -> str:
        return self._name(f"attempts:{task_id}")

    def lines(self, task_id: str) -> str:
        return self._name(f"lines:{task_id}")

    def parts(self, family_id: str) -> str:
        return self._name(f"parts:{family_id}")

    def waiting(self, queue: str) -> str:
        return self._name(f"waiting:{queue}")

    def running(self, worker: str) -> str:
        return self._name(f"running:{worker}")

    def unheld(self, worker: str) -> str:
        return self._name(f"unheld:{worker}")

    def held(self, worker: str) -> str:
        return self._name(f"held:{worker}")

    def bell(self, queue: str) -> str:
        return self._name(f"bell:{queue}")

    def claim(self, name: str) -> str:
        return self._name(f"claim:{name}")

    def turn(self, name: str) -> str:
        return self._name(f"turn:{name}")

    def browser(self, name: str) -> str:
        return self._name(f"browser:{name}")

    def guesses(self, address: str) -> str:
        return self._name(f"guesses:{address}")
