package httpd

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"copialettere/policy"
)

// Parameter is one parameter of the query of a route.
type Parameter struct {
	Name     string
	Value    string // what stands for its value in Route.Takes: "true", "N", "archive|mailbox", "ADDR"
	Required bool
}

// Parameters returns the parameters in Takes.
func (r *Route) Parameters() (list []Parameter) {
	for text := range strings.SplitSeq(r.Takes, "&") {
		p := Parameter{Required: !strings.Contains(text, "]")} // "[q=QUERY][&folder=F]" is cut into "[q=QUERY][" and "folder=F]"
		text = strings.NewReplacer("[", "", "]", "").Replace(text)
		if p.Name, p.Value, _ = strings.Cut(text, "="); p.Name != "" {
			list = append(list, p)
		}
	}
	return list
}

// braces finds what stands for a segment in a path.
var braces = regexp.MustCompile(`\{([a-z]+)\}`)

// Segments returns the names of what is in braces in the path.
func (r *Route) Segments() (names []string) {
	for _, found := range braces.FindAllStringSubmatch(r.Path, -1) {
		names = append(names, found[1])
	}
	return names
}

// FindRoute returns the route with a method and a path as in the table.
func FindRoute(method, path string) (*Route, bool) {
	for _, r := range Routes() {
		if r.Method == method && r.Path == path {
			return &r, true
		}
	}
	return nil, false
}

// NewRequest returns a request of the route at a server, such as "http://localhost". values has the segments of the path and the members of the body by
// their names, settings as set=KEY=VALUE; the rest is the query. content is the body of a route that takes Lines or Content.
func (r *Route) NewRequest(ctx context.Context, server string, values url.Values, content io.Reader) (*http.Request, error) {
	query := make(url.Values)
	for name, list := range values {
		query[name] = list
	}
	path := r.Path
	for _, name := range r.Segments() {
		value := query.Get(name)
		if value == "" || value == "." || value == ".." { // these mean another path
			return nil, fmt.Errorf("%w: %s %q: name one", errRequest, name, value)
		}
		path = strings.Replace(path, "{"+name+"}", url.PathEscape(value), 1)
		query.Del(name)
	}
	kind := "text/plain; charset=utf-8"
	if bytes, ok := r.Body.(Content); ok {
		kind = bytes.Type
	}
	if r.takesJSON() {
		b, err := bodyOf(r.Body, query)
		if err != nil {
			return nil, err
		}
		content, kind = bytes.NewReader(b), documentType
	}
	target := server + Prefix + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, target, content)
	if err == nil && content != nil {
		request.Header.Set("Content-Type", kind)
	}
	return request, err
}

// bodyOf returns a body of the type of zero, as JSON, and takes what goes into it out of values.
func bodyOf(zero any, values url.Values) ([]byte, error) {
	if _, ok := zero.(Assignments); ok {
		list := assignmentsOf(values["set"])
		values.Del("set")
		return json.Marshal(list)
	}
	v := reflect.New(reflect.TypeOf(zero)).Elem()
	for _, field := range reflect.VisibleFields(v.Type()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || !values.Has(name) {
			continue
		}
		if err := setField(v.FieldByIndex(field.Index), values.Get(name)); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errRequest, name, err)
		}
		values.Del(name)
	}
	return json.Marshal(v.Interface())
}

// setField gives a field the value that a text stands for.
func setField(field reflect.Value, text string) (err error) {
	if u, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.Bool:
		var b bool
		if b, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%.100q: want true or false", text)
		}
		field.SetBool(b)
	case reflect.Int:
		var n int
		if n, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%.100q: want a whole number", text)
		}
		field.SetInt(int64(n))
	default:
		field.SetString(text)
	}
	return nil
}

// assignmentsOf reads KEY=VALUE texts. Set refuses a text without an equals sign together with everything else that is wrong, because no key takes an
// empty value.
func assignmentsOf(texts []string) Assignments {
	list := Assignments{}
	for _, text := range texts {
		assignment, err := policy.ParseAssignment(text)
		if err != nil {
			assignment = policy.Assignment{Key: text}
		}
		list = append(list, assignment)
	}
	return list
}
