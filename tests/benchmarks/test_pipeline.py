import os
import subprocess
import sys

from benchmarks.pipeline import Measurement, rows, tree_memory


def test_memory_counts_children():
    code = "x = bytearray(200 * 2**20); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        child.stdout.readline()
        with_child = tree_memory(os.getpid())
        assert tree_memory(child.pid) > 200 * 2**20
        child.communicate("\n")
    assert with_child - tree_memory(os.getpid()) > 150 * 2**20


def test_a_process_that_has_gone_has_no_memory():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert tree_memory(child.pid) == 0


def test_table_holds_every_node_the_rest_and_the_sum():
    cold = Measurement({"judge": 60.0, "gan": 30.25}, 102.25, 2048.0, 0)
    cached = Measurement({"judge": 0.1, "gan": 0.1}, 14.2, 900.4, 0)
    lines = rows(cold, cached)
    assert ["gan", "30.2", "0.1"] in lines
    assert ["start and end", "12.0", "14.0"] in lines
    assert ["all", "102.2", "14.2"] in lines
    assert ["peak memory, MiB", "2048", "900"] in lines
