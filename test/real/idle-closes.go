// An upstream that closes idle connections at random, Go's ReverseProxy before it, and a load of requests.
// Run by: idle-closes serve, which prints both ports, or: idle-closes load URL METHOD COUNT, which prints the failures.
package main

import (
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	longestIdle = 40 * time.Millisecond
	width       = 16
)

func serve() {
	// a connection that is idle for a random time is closed, just as a request may be on its way
	var timers sync.Map
	upstream := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "ok")
		}),
		ConnState: func(c net.Conn, state http.ConnState) {
			if timer, found := timers.LoadAndDelete(c); found {
				timer.(*time.Timer).Stop()
			}
			if state == http.StateIdle {
				timers.Store(c, time.AfterFunc(time.Duration(rand.Int63n(int64(longestIdle))), func() { c.Close() }))
			}
		},
	}
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		return listener
	}
	upstreamListener, proxyListener := listen(), listen()
	target, _ := url.Parse("http://" + upstreamListener.Addr().String())
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	go upstream.Serve(upstreamListener)
	fmt.Println(upstreamListener.Addr().(*net.TCPAddr).Port, proxyListener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(proxyListener, proxy))
}

func load(target, method string, count int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: width}, Timeout: 20 * time.Second}
	var failures, next atomic.Int64
	var reasons sync.Map
	var all sync.WaitGroup
	for range width {
		all.Go(func() {
			for next.Add(1) <= int64(count) {
				time.Sleep(time.Duration(rand.Int63n(int64(longestIdle))))
				var body io.Reader
				if method == "POST" {
					body = strings.NewReader("a small body")
				}
				request, _ := http.NewRequest(method, target, body)
				response, err := client.Do(request)
				if err != nil {
					failures.Add(1)
					reasons.Store(err.Error(), true)
					continue
				}
				content, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != 200 || string(content) != "ok" {
					failures.Add(1)
					reasons.Store(response.Status, true)
				}
			}
		})
	}
	all.Wait()
	fmt.Print(failures.Load())
	reasons.Range(func(reason, _ any) bool {
		fmt.Printf(" %s;", reason)
		return true
	})
}

func main() {
	if os.Args[1] == "serve" {
		serve()
	}
	count, _ := strconv.Atoi(os.Args[4])
	load(os.Args[2], os.Args[3], count)
}
