"""The workload as a user of ft_launcher writes it: a heartbeat after every step."""

import workload
from nvidia_resiliency_ext.fault_tolerance import RankMonitorClient

if __name__ == "__main__":
    client = RankMonitorClient()
    client.init_workload_monitoring()
    workload.join()
    workload.train(on_step=client.send_heartbeat)
