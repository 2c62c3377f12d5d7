package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/httpd"
	"copialettere/policy/archive"
)

// mailboxPath begins the routes that are about one mailbox, and messagePath those about one message.
const (
	mailboxPath = "/mailboxes/{mailbox}"
	messagePath = mailboxPath + "/messages/{folder}/{uid}"
)

// client asks the admin interface: the daemon's, over its socket, or its own on the data folder when the daemon is down.
type client struct {
	http  http.Client
	close func() error
}

// open returns a client for the configuration.
func (in *invocation) open(ctx context.Context) (*client, error) {
	c, err := config.Load(in.configFile)
	if err != nil {
		return nil, err
	}
	socket := c.Admin.Socket()
	if nc, err := net.DialTimeout("unix", socket, 5*time.Second); err == nil {
		nc.Close()
		return socketClient(socket), nil
	} else if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("admin socket: %w: run this as the daemon's user", err)
	}
	log := slog.New(slog.NewTextHandler(in.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := openUnserved(ctx, c, log)
	if err != nil {
		return nil, err
	}
	acts := a.acts(c, nil)
	a.pulls.Configure(acts, c.Pull.AllowPrivate)
	d := &direct{handler: httpd.Admin(a.backend(acts, log))}
	return &client{http: http.Client{Transport: d}, close: func() error {
		d.running.Wait() // an answer that nobody reads on ends when its body is closed
		return a.close()
	}}, nil
}

func socketClient(socket string) *client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	return &client{http: http.Client{Transport: transport}, close: func() error { transport.CloseIdleConnections(); return nil }}
}

// direct is an http.RoundTripper that calls a handler in this process. The body of the answer streams through a pipe.
type direct struct {
	handler http.Handler
	running sync.WaitGroup // of the handlers
}

// RoundTrip implements http.RoundTripper.
func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	body, w := io.Pipe()
	answer := &pipedResponse{header: make(http.Header), w: w, started: make(chan int, 1)}
	failed := make(chan error, 1)
	d.running.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				err := fmt.Errorf("request failed: %v", p)
				failed <- err // where the answer has begun, its body ends with the error
				w.CloseWithError(err)
				return
			}
			answer.WriteHeader(http.StatusOK)
			w.Close()
		}()
		d.handler.ServeHTTP(answer, r)
	})
	select {
	case err := <-failed:
		return nil, err
	case status := <-answer.started:
		return &http.Response{StatusCode: status, Header: answer.header, Body: body, Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
	case <-r.Context().Done():
		body.Close()
		return nil, r.Context().Err()
	}
}

type pipedResponse struct {
	header  http.Header
	w       *io.PipeWriter
	started chan int
	begun   bool
}

func (p *pipedResponse) Header() http.Header { return p.header }
func (p *pipedResponse) Flush()              {}
func (p *pipedResponse) WriteHeader(status int) {
	if !p.begun {
		p.begun = true
		p.started <- status
	}
}

func (p *pipedResponse) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.w.Write(b)
}

var _ http.Flusher = (*pipedResponse)(nil)

// do sends a request of the route with a method and a path, and returns the body of a good answer, which the caller closes. values are as for
// httpd.Route.NewRequest, content too. The error is errNothing on 404, after printing the message, and errUsage on 400.
func (in *invocation) do(ctx context.Context, c *client, method, path string, values url.Values, content io.Reader) (io.ReadCloser, error) {
	route, ok := httpd.FindRoute(method, path)
	if !ok {
		return nil, fmt.Errorf("there is no route %s %s", method, path)
	}
	r, err := route.NewRequest(ctx, "http://admin", values, content)
	if errors.Is(err, archive.ErrRequest) {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/x-ndjson")
	answer, err := c.http.Do(r)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		return nil, errors.New("the daemon ended before it answered, and whether a change was made is not known: look, and run the command again")
	case err != nil:
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var p httpd.Problem
	if err := json.NewDecoder(answer.Body).Decode(&p); err != nil || p.Detail == "" {
		return nil, fmt.Errorf("the daemon answered %s", answer.Status)
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		fmt.Fprintln(in.stderr, "copialettere:", p.Detail)
		return nil, errNothing
	case http.StatusBadRequest:
		return nil, fmt.Errorf("%w: %s", errUsage, p.Detail)
	}
	return nil, errors.New(p.Detail)
}

// each asks a route, calls fn with every JSON object of the answer, and returns how many there were.
func each[T any](in *invocation, ctx context.Context, c *client, method, path string, values url.Values, fn func(T) error) (int, error) {
	return eachOf(in, ctx, c, method, path, values, nil, fn)
}

// eachOf is each with lines of text in the request.
func eachOf[T any](in *invocation, ctx context.Context, c *client, method, path string, values url.Values, content io.Reader,
	fn func(T) error) (int, error) {
	body, err := in.do(ctx, c, method, path, values, content)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	lines := bufio.NewReaderSize(body, 64<<10)
	for n := 0; ; n++ {
		raw, err := lines.ReadBytes('\n')
		if err == io.EOF && len(raw) == 0 {
			return n, nil
		}
		if err == io.EOF { // within a line
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, fmt.Errorf("the answer broke off, as when the daemon is stopped: %w", err)
		}
		if bytes.Contains(raw, []byte(`"problem":`)) {
			var last struct {
				Problem *httpd.Problem `json:"problem"`
			}
			if json.Unmarshal(raw, &last); last.Problem != nil {
				return n, errors.New(last.Problem.Detail)
			}
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return n, err
		}
		if err := fn(v); err != nil {
			return n, err
		}
	}
}

func (in *invocation) printJSON(v any) error {
	enc := json.NewEncoder(jsonEscaper{in.stdout})
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
