// Go's net/http. Run by: server PORT PREFIX
package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	prefix := os.Args[2]
	mux := http.NewServeMux()
	on := func(path string, handle http.HandlerFunc) { mux.HandleFunc(prefix+path, handle) }
	seen := func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		io.Copy(hash, r.Body)
		headers := map[string]string{}
		for name, values := range r.Header {
			headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "url": r.RequestURI, "sha256": hex.EncodeToString(hash.Sum(nil)), "headers": headers,
		})
	}
	parts := func(contentType string, list ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			for _, part := range list {
				io.WriteString(w, part)
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	on("/small", seen)
	on("/echo", seen)
	on("/large", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("0123456789abcdef", 62500))
	})
	on("/empty", func(w http.ResponseWriter, r *http.Request) {})
	on("/none", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	on("/chunked", parts("text/plain", "one ", "two ", "three"))
	on("/events", parts("text/event-stream", "data: 1\n\n", "data: 2\n\n"))
	on("/completion", parts("text/event-stream", "data: {\"token\":\"a\"}\n\n", "data: [DONE]\n\n"))
	on("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, prefix+"/small", 303) })
	on("/cookies", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "1", Path: "/"})
		http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
		io.WriteString(w, r.Header.Get("Cookie"))
	})
	on("/etag", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "a.txt", time.Unix(1700000000, 0), strings.NewReader("version 1"))
	})
	on("/range", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.txt", time.Unix(1700000000, 0), strings.NewReader("0123456789"))
	})
	on("/gzip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		body := gzip.NewWriter(w)
		io.WriteString(body, strings.Repeat("compressed ", 100))
		body.Close()
	})
	on("/status/500", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "on purpose", 500) })
	on("/early", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "too large", 413)
	})
	on("/poll", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(200 * time.Millisecond)
		io.WriteString(w, "at last")
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], mux))
}
