package httpd

import (
	_ "embed"
	"net/http"
	"strconv"
)

// openAPI is the description of the API. A test writes it from the table and the types, and fails where it is not what they are:
// go test -run TestOpenAPI ./journal/httpd -update
//
//go:embed openapi.json
var openAPI []byte

func (a *api) openAPI(c *call) error {
	c.w.Header().Set("Content-Type", documentType)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(openAPI)))
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(openAPI)
	return nil
}
