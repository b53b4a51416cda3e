/* python.exe: all of it is in the dll of that version. */
#include <wchar.h>

int _dowildcard = 0; /* the C library shall not expand wildcards */

__declspec(dllimport) int Py_Main(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    return Py_Main(argc, argv);
}
