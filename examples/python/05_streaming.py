# %% [markdown]
# # A server that streams
# Clients send one symbol at a time and get an answer after each. The network is the one that `01_retrieval.py` has trained
# and saved, here in NumPy alone. Parameters are shared; all that is of one client is its state.

# %%
import socket
import socketserver
import string
import threading

import numpy as np

import stpn

SYMBOLS = (string.ascii_lowercase + string.digits + "?").encode()
ONE_HOT = np.eye(len(SYMBOLS), dtype=np.float32)

net = stpn.Net(len(SYMBOLS), stpn.Unit("stpn_r", 20), {"readout": len(SYMBOLS)})
net.load("retrieval.safetensors")


# %% [markdown]
# A connection is a client, with a thread of its own: C works outside of Python's lock, so that clients are served side by
# side. A byte in is a step, a byte out is the most probable symbol.

# %%
class Client(socketserver.BaseRequestHandler):
    def handle(self):
        state = net.state(1)  # F = 0: a sequence begins with its connection
        while (symbol := self.request.recv(1)) and symbol in SYMBOLS:
            y = net.step(ONE_HOT[[SYMBOLS.index(symbol)]], state)  # (B, I) to (B, H)
            answer = net.head("readout", y).argmax()
            self.request.sendall(SYMBOLS[answer:answer + 1])


def serve(port=0):
    """A server on this machine, in the background; with port 0 the system chooses one."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Client)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# %% [markdown]
# Three clients take turns. None of them sees what the others have sent.

# %%
texts = ["c9k8j3??k", "k1c2z3??c", "z5x6c7??z"]
server = serve()
clients = [socket.create_connection(server.server_address) for _ in texts]
for symbols in zip(*texts):
    answers = []
    for client, symbol in zip(clients, symbols):
        client.sendall(symbol.encode())
        answers.append(client.recv(1).decode())
for client, text, answer in zip(clients, texts, answers):
    print(f"{text}: {answer}")
    client.close()
server.shutdown()
server.server_close()
