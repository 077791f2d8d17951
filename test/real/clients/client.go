// Go's http.Client. Run by: client LIST BASE…
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var client = &http.Client{
	Timeout:       20 * time.Second,
	Transport:     &http.Transport{DisableCompression: true, ExpectContinueTimeout: 15 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func encoded(text []byte) string { return base64.StdEncoding.EncodeToString(text) }

func send(base string, fields []string) string {
	var body io.Reader
	if fields[4] != "" {
		content, _ := os.ReadFile(fields[4])
		body = bytes.NewReader(content)
		if fields[5] == "chunked" {
			// a type that Go does not know has no length
			body = io.MultiReader(body)
		}
	}
	request, err := http.NewRequest(fields[1], base+fields[2], body)
	if err != nil {
		return "error\t" + encoded([]byte(err.Error()))
	}
	for _, field := range strings.Split(fields[3], "|") {
		if name, value, found := strings.Cut(field, ": "); found {
			request.Header.Add(name, value)
		}
	}
	if fields[5] == "expect" {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := client.Do(request)
	if err != nil {
		return "error\t" + encoded([]byte(err.Error()))
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return "error\t" + encoded([]byte(err.Error()))
	}
	var head strings.Builder
	for name, values := range response.Header {
		for _, value := range values {
			fmt.Fprintf(&head, "%s: %s\n", name, value)
		}
	}
	return fmt.Sprintf("%d\t%s\t%s", response.StatusCode, encoded([]byte(head.String())), encoded(content))
}

func main() {
	list, _ := os.ReadFile(os.Args[1])
	for index, base := range os.Args[2:] {
		for _, line := range strings.Split(strings.TrimRight(string(list), "\n"), "\n") {
			fields := strings.Split(line, "\t")
			fmt.Printf("%d\t%s\t%s\n", index, fields[0], send(base, fields))
		}
	}
}
