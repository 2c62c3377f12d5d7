package httpd

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.json")

// object is a JSON object.
type object = map[string]any

// TestOpenAPI compares the embedded description with what the table of routes and the types of their bodies and answers say, both ways, and looks
// whether it is sound in itself.
func TestOpenAPI(t *testing.T) {
	want := newDescriber(t).document()
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		openAPI = want
	}
	if !bytes.Equal(openAPI, want) {
		t.Fatalf("openapi.json is not what routes and types say: go test -run TestOpenAPI ./journal/httpd -update")
	}
	var d object
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	checkRefs(t, d, d, used)
	for kind, list := range d["components"].(object) {
		for name := range list.(object) {
			if ref := "#/components/" + kind + "/" + name; kind != "securitySchemes" && !used[ref] {
				t.Errorf("nothing refers to %s", ref)
			}
		}
	}
	ids := make(map[string]bool)
	number := 0
	for path, item := range d["paths"].(object) {
		for method, operation := range item.(object) {
			if method == "parameters" {
				continue
			}
			number++
			o := operation.(object)
			id := o["operationId"].(string)
			if ids[id] {
				t.Errorf("%s %s: the operationId %s is there twice", method, path, id)
			}
			ids[id] = true
			route, ok := FindRoute(strings.ToUpper(method), strings.TrimPrefix(path, Prefix))
			if !ok {
				t.Errorf("%s %s is no route", method, path)
				continue
			}
			checkParameters(t, route, item.(object), o)
		}
	}
	if number != len(Routes()) {
		t.Errorf("%d routes are described, and there are %d", number, len(Routes()))
	}
}

// checkParameters looks whether the parameters that a description has are those that the route reads.
func checkParameters(t *testing.T, route *Route, item, operation object) {
	t.Helper()
	described := make(map[string]bool)
	for _, list := range []any{item["parameters"], operation["parameters"]} {
		all, _ := list.([]any)
		for _, p := range all {
			p := p.(object)
			described[p["in"].(string)+" "+p["name"].(string)] = true
			if p["in"] == "path" && p["required"] != true {
				t.Errorf("%s %s: the segment %s is not required", route.Method, route.Path, p["name"])
			}
		}
	}
	read := make(map[string]bool)
	for _, name := range route.Segments() {
		read["path "+name] = true
	}
	for _, p := range route.Parameters() {
		read["query "+p.Name] = true
	}
	if route.Record {
		read["query who"] = true
	}
	if !reflect.DeepEqual(described, read) {
		t.Errorf("%s %s: described are %v, read %v", route.Method, route.Path, described, read)
	}
}

// checkRefs looks whether every reference leads somewhere.
func checkRefs(t *testing.T, root object, v any, used map[string]bool) {
	t.Helper()
	switch v := v.(type) {
	case object:
		if ref, ok := v["$ref"].(string); ok {
			used[ref] = true
			if resolve(root, ref) == nil {
				t.Errorf("%s leads nowhere", ref)
			}
		}
		for _, one := range v {
			checkRefs(t, root, one, used)
		}
	case []any:
		for _, one := range v {
			checkRefs(t, root, one, used)
		}
	}
}

// resolve returns what a reference within a document leads to; nil for nothing.
func resolve(root object, ref string) object {
	at := root
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at, _ = at[name].(object)
	}
	return at
}
