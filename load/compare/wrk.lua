-- the summary as one line of JSON
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"us":%d,"failed":%d,"p50Us":%d,"p99Us":%d}\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50), latency:percentile(99)))
end
