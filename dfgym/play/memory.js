"use strict";
// Where a world has a memory: the steps that the picture was recalled from, or a map.
{
  const style = (element, text) => (element.style.cssText = text);
  const track = $("track");
  const line = make("div", "");
  const lights = make("div", "", line);
  style(line, "flex:1 5em;position:relative");
  track.replaceWith(line);
  line.prepend(track);
  lights.id = "recalled";
  lights.title = "The frames that this picture was recalled from";
  style(lights, "position:absolute;left:8px;right:8px;bottom:-4px;height:0");

  const map = make("section", "");
  map.hidden = true;
  make("h2", "Its map, the player in the middle", map);
  const canvas = make("canvas", "", map);
  canvas.id = "map";
  style(canvas, "width:100%;max-width:250px;image-rendering:pixelated");
  $("controls").before(map);

  game.recall = ({ frames = [], side, pixels }) => {
    lights.replaceChildren();
    for (const t of frames) {
      const light = make("i", "", lights);
      light.dataset.t = t;
      const place = (100 * t) / Math.max(1, track.max);
      style(light, `position:absolute;left:${place}%;width:8px;height:8px;margin-left:-4px;border-radius:4px;background:var(--dream)`);
    }
    map.hidden = !pixels;
    if (!pixels) return;
    canvas.width = canvas.height = side;
    paint(canvas, Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0)));
  };
}
