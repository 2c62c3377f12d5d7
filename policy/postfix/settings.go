package postfix

import (
	"context"
	"fmt"
	"strings"
)

// settings is the configuration of Postfix as postconf prints it.
type settings struct {
	main     map[string]string // every parameter of main.cf and every default, expanded
	services []service         // the SMTP servers of master.cf
}

// service is an smtpd(8) of master.cf.
type service struct {
	name string            // as in master.cf, "submission"
	own  map[string]string // parameters set by its -o options, expanded
	main map[string]string
}

// value returns the value of a parameter for the service.
func (s *service) value(name string) string {
	if v, ok := s.own[name]; ok {
		return v
	}
	return s.main[name]
}

// login reports whether users can log in at the service.
func (s *service) login() bool { return s.value("smtpd_sasl_auth_enable") == "yes" }

// readSettings asks postconf.
func readSettings(ctx context.Context) (*settings, error) {
	all := &settings{main: make(map[string]string)}
	var master, overrides []byte
	main, err := run(ctx, nil, maxAnswer, "postconf", "-x")
	if err == nil {
		master, err = run(ctx, nil, maxAnswer, "postconf", "-M")
	}
	if err == nil {
		overrides, err = run(ctx, nil, maxAnswer, "postconf", "-Px")
	}
	if err != nil {
		return nil, err
	}
	for name, value := range assignments(main) {
		all.main[name] = value
	}
	if _, ok := all.main["transport_maps"]; !ok {
		return nil, fmt.Errorf("postconf tells nothing of transport_maps")
	}
	all.readServices(master, overrides)
	return all, nil
}

// assignments yields "NAME = VALUE" lines.
func assignments(text []byte) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for line := range strings.Lines(string(text)) {
			name, value, ok := strings.Cut(line, " =")
			if ok && !yield(name, strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// readServices reads the lines of "postconf -M" (name, type, five columns, command) and of "postconf -P" (NAME/TYPE/PARAMETER = VALUE).
func (all *settings) readServices(master, overrides []byte) {
	own := make(map[string]map[string]string) // by NAME/TYPE
	for name, value := range assignments(overrides) {
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			continue
		}
		of := name[:i]
		if own[of] == nil {
			own[of] = make(map[string]string)
		}
		own[of][name[i+1:]] = value
	}
	for line := range strings.Lines(string(master)) {
		column := strings.Fields(line)
		// postscreen(8) hands the connections of port 25 to a "pass" service.
		if len(column) < 8 || column[1] != "inet" && column[1] != "pass" || column[7] != "smtpd" {
			continue
		}
		all.services = append(all.services, service{name: column[0], own: own[column[0]+"/"+column[1]], main: all.main})
	}
}

// items splits a list of main.cf at blanks and commas outside of braces.
func items(list string) []string {
	var all []string
	depth, start := 0, 0
	for i := 0; i <= len(list); i++ {
		end := i == len(list)
		if !end && list[i] == '{' {
			depth++
		}
		if !end && list[i] == '}' && depth > 0 {
			depth--
		}
		if !end && (depth > 0 || !strings.ContainsRune(", \t\r\n", rune(list[i]))) {
			continue
		}
		if i > start {
			all = append(all, list[start:i])
		}
		start = i + 1
	}
	return all
}
