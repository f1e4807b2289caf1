"""A Ray cluster of this machine with two replicas, for the tests: `python cluster.py PORT`.

It prints "ready" when the replicas are there. Then each line of its input names a replica, which it
kills. It ends with its input.
"""

import sys

import ray
from ray import serve

from demos.ray import ray_replicas

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
args = {"model": "tiny_chat", "replicas": "2", "flags": "--no_auto_tune true"}
serve.run(ray_replicas.app(args))
print("ready", flush=True)
for line in sys.stdin:
    name = f"SERVE_REPLICA::default#Replica#{line.strip()}"
    ray.kill(ray.get_actor(name, namespace="serve"))
    print("killed", flush=True)
serve.shutdown()
ray.shutdown()
