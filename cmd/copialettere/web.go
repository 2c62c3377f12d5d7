package main

import (
	"fmt"
	"net/http"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/httpd"
)

// startWeb opens the listeners of [web], if the configuration has it.
func (d *daemon) startWeb(sockets *systemdSockets) error {
	c := d.config.Load().Web
	if c == nil {
		return nil
	}
	d.web = httpd.NewServer(httpd.ServerConfig{
		Handler: http.HandlerFunc(d.serveWeb), TLS: d.tls, MaxConnections: c.MaxConnections, MaxPerAddress: c.MaxPerAddress,
		Logger: d.log, Metrics: d.archive.metrics,
	})
	for _, l := range c.Listen {
		list, err := listen([]config.Listener{l.Listener}, 0, "", sockets)
		if err != nil {
			return fmt.Errorf("web: %w", err)
		}
		for _, nl := range list {
			d.log.Info("listening", "serves", "web", "address", nl.Addr().String(), "tls", l.TLS)
			d.run(func() error { return d.web.Serve(nl, l.TLS) })
		}
	}
	return nil
}

// serveWeb answers under the configuration that is in force when the request comes.
func (d *daemon) serveWeb(w http.ResponseWriter, r *http.Request) {
	httpd.Web(*d.backend.Load()).ServeHTTP(w, r)
}
