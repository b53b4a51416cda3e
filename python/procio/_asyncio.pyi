"""What the module's ``__getattr__`` finds in asyncio, for type checkers: all but what procio replaces."""

# ruff: noqa: F403

import sys
from asyncio import (
    AbstractEventLoop as AbstractEventLoop,
)
from asyncio import (
    AbstractEventLoopPolicy as AbstractEventLoopPolicy,
)
from asyncio import (
    AbstractServer as AbstractServer,
)
from asyncio import (
    DefaultEventLoopPolicy as DefaultEventLoopPolicy,
)
from asyncio import (
    Handle as Handle,
)
from asyncio import (
    Runner as Runner,
)
from asyncio import (
    SelectorEventLoop as SelectorEventLoop,
)
from asyncio import (
    StreamReaderProtocol as StreamReaderProtocol,
)
from asyncio import (
    TimerHandle as TimerHandle,
)
from asyncio import (
    base_events as base_events,
)
from asyncio import (
    base_futures as base_futures,
)
from asyncio import (
    base_subprocess as base_subprocess,
)
from asyncio import (
    base_tasks as base_tasks,
)
from asyncio import (
    constants as constants,
)
from asyncio import (
    coroutines as coroutines,
)
from asyncio import (
    events as events,
)
from asyncio import (
    exceptions as exceptions,
)
from asyncio import (
    format_helpers as format_helpers,
)
from asyncio import (
    futures as futures,
)
from asyncio import (
    get_event_loop as get_event_loop,
)
from asyncio import (
    get_event_loop_policy as get_event_loop_policy,
)
from asyncio import (
    get_running_loop as get_running_loop,
)
from asyncio import (
    locks as locks,
)
from asyncio import (
    log as log,
)
from asyncio import (
    mixins as mixins,
)
from asyncio import (
    open_connection as open_connection,
)
from asyncio import (
    protocols as protocols,
)
from asyncio import (
    queues as queues,
)
from asyncio import (
    runners as runners,
)
from asyncio import (
    selector_events as selector_events,
)
from asyncio import (
    set_event_loop as set_event_loop,
)
from asyncio import (
    set_event_loop_policy as set_event_loop_policy,
)
from asyncio import (
    sslproto as sslproto,
)
from asyncio import (
    staggered as staggered,
)
from asyncio import (
    start_server as start_server,
)
from asyncio import (
    streams as streams,
)
from asyncio import (
    taskgroups as taskgroups,
)
from asyncio import (
    tasks as tasks,
)
from asyncio import (
    threads as threads,
)
from asyncio import (
    timeouts as timeouts,
)
from asyncio import (
    transports as transports,
)
from asyncio import (
    trsock as trsock,
)
from asyncio.base_events import *
from asyncio.coroutines import *
from asyncio.exceptions import *
from asyncio.futures import *
from asyncio.locks import *
from asyncio.protocols import *
from asyncio.queues import *
from asyncio.taskgroups import *
from asyncio.tasks import *
from asyncio.threads import *
from asyncio.timeouts import *
from asyncio.transports import *

if sys.version_info >= (3, 14):
    from asyncio import graph as graph
    from asyncio.graph import *
else:
    from asyncio import (
        get_child_watcher as get_child_watcher,
    )
    from asyncio import (
        set_child_watcher as set_child_watcher,
    )

if sys.platform == "win32":
    from asyncio import (
        IocpProactor as IocpProactor,
    )
    from asyncio import (
        ProactorEventLoop as ProactorEventLoop,
    )
    from asyncio import (
        WindowsProactorEventLoopPolicy as WindowsProactorEventLoopPolicy,
    )
    from asyncio import (
        WindowsSelectorEventLoopPolicy as WindowsSelectorEventLoopPolicy,
    )
    from asyncio import (
        proactor_events as proactor_events,
    )
    from asyncio import (
        windows_events as windows_events,
    )
    from asyncio import (
        windows_utils as windows_utils,
    )
else:
    from asyncio import (
        open_unix_connection as open_unix_connection,
    )
    from asyncio import (
        start_unix_server as start_unix_server,
    )
    from asyncio import (
        unix_events as unix_events,
    )

    if sys.version_info < (3, 14):
        from asyncio import (
            AbstractChildWatcher as AbstractChildWatcher,
        )
        from asyncio import (
            FastChildWatcher as FastChildWatcher,
        )
        from asyncio import (
            MultiLoopChildWatcher as MultiLoopChildWatcher,
        )
        from asyncio import (
            PidfdChildWatcher as PidfdChildWatcher,
        )
        from asyncio import (
            SafeChildWatcher as SafeChildWatcher,
        )
        from asyncio import (
            ThreadedChildWatcher as ThreadedChildWatcher,
        )
