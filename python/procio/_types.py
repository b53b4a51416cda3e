"""Types of arguments."""

import os
from typing import IO, Any, TypeAlias

StrOrBytesPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
File: TypeAlias = int | IO[Any] | None
