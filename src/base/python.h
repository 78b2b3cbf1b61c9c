/* Python, for the parts of stpn that are written in it. */
#ifndef STPN_BASE_PYTHON_H
#define STPN_BASE_PYTHON_H

enum { PYTHON_PATH_SIZE = 4096 };

/* The interpreter: STPN_PYTHON, else the tree's .venv, else that of the virtual environment that the program is installed in,
 * else python3. What is returned may lie in `path`. */
const char *python_find(char path[PYTHON_PATH_SIZE]);
/* The value of PYTHONPATH with which that interpreter finds the stpn package of this tree or installation, in front of
 * what the user has (memory_free); NULL where there is no such package. Returns 0 where memory is out. */
int python_package_path(char **value);

#endif
