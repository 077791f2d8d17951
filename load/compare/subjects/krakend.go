// KrakenD's engine with its JWT validator: the parts that krakend-ce connects, without the rest of it.
package main

import (
	"context"
	"os"

	"github.com/gin-gonic/gin"
	jose "github.com/krakendio/krakend-jose/v2"
	ginjose "github.com/krakendio/krakend-jose/v2/gin"
	"github.com/luraproject/lura/v2/config"
	"github.com/luraproject/lura/v2/logging"
	"github.com/luraproject/lura/v2/proxy"
	router "github.com/luraproject/lura/v2/router/gin"
	"github.com/luraproject/lura/v2/transport/http/server"
)

func main() {
	service, err := config.NewParser().Parse(os.Args[1])
	if err != nil {
		panic(err)
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(gin.Logger(), gin.Recovery())
	logger, _ := logging.NewLogger("INFO", os.Stdout, "")
	router.NewFactory(router.Config{
		Engine:         engine,
		ProxyFactory:   proxy.DefaultFactory(logger),
		Logger:         logger,
		HandlerFactory: ginjose.HandlerFactory(router.EndpointHandler, logger, new(jose.NopRejecterFactory)),
		RunServer:      server.RunServer,
	}).NewWithContext(context.Background()).Run(service)
}
