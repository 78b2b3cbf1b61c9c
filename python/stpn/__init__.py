"""Short-term-plasticity neurons: what there is in Python.

The modules for figures (stpn.plot, stpn.run_files, stpn.tensors) need NumPy and Matplotlib and nothing that is compiled.
"""
