"""python generate.py STPN.H OUT.C: writes the C source of stpn._native (cffi, API mode) from the public header.

The header is the one place where the interface stands; here only what cffi's parser does not know is taken out.
"""
import re
import sys

import cffi


def declarations(header):
    """The header's types and functions as cffi reads them: without the preprocessor's lines and extern "C"."""
    text = re.sub(r'#ifdef __cplusplus\n.*?#endif', "", header, flags=re.DOTALL)
    text = re.sub(r"^#.*(\\\n.*)*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\bSTPN_API\b", "", text)


def main(path, out):
    with open(path, encoding="utf-8") as file:
        header = file.read()
    ffi = cffi.FFI()
    ffi.cdef(declarations(header))
    ffi.set_source("stpn._native", "#include <stpn/stpn.h>", py_limited_api=True)
    ffi.emit_c_code(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
