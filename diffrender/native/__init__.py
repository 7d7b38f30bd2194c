"""The C++ kernels: a C ABI without torch or Python, found beside this file and loaded by ctypes.

One library is built for each instruction set; the widest one that the processor has is taken.
`DIFFRENDER_NATIVE=off` leaves them unused, `=baseline` or `=avx2` caps the instruction set
(`=avx512` is the highest).
Loading them lets the process keep up to 256 MiB of freed memory (glibc only), since getting it back
costs as much as drawing; `DIFFRENDER_MALLOC=system` leaves the C library's own limits. Any other
value of the two is refused with an InputError.
"""

from __future__ import annotations

from diffrender.native._library import NativeError as NativeError
from diffrender.native._library import instruction_set as instruction_set
from diffrender.native._library import library as library
from diffrender.native._library import reason_missing as reason_missing
from diffrender.native._library import signature as signature
from diffrender.native.threads import kernel_threads as kernel_threads
from diffrender.native.threads import share_team as share_team
from diffrender.native.threads import small_tensors as small_tensors

__all__ = [
    "NativeError",
    "instruction_set",
    "kernel_threads",
    "library",
    "reason_missing",
    "share_team",
    "signature",
    "small_tensors",
]
