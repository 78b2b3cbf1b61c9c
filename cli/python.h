/* The parts of stpn that are written in Python, run as programs. */
#ifndef STPN_CLI_PYTHON_H
#define STPN_CLI_PYTHON_H

/* Runs `python -m MODULE WORDS...` (words end with NULL) with the stpn package of this tree or installation; its output
 * goes to standard error. Python is STPN_PYTHON, else the tree's .venv, else python3. Returns the program's exit status,
 * 128 + N where signal N ended it, or -1 after a message where it could not be started. */
int python_run(const char *module, const char *const *words);

#endif
